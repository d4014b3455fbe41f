//! Service account tokens in pods: what they are good for, and how long.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        token_is_for_whom_and_as_long_as_asked,
        token_ends_with_its_pod_and_leaves_nothing_on_the_node,
        token_serves_on_across_a_restart,
        account_that_is_missing_is_named_until_it_comes,
    ]
}

/// A pod that takes commands with tokens at `/tokens/NAME`, one for each audience and life.
fn token_pod(namespace: &str, node: &Node, tokens: &[(&str, &str, u64)]) -> Value {
    let sources = tokens.iter().map(|(path, audience, life)| {
        let mut source = json!({"path": path, "expirationSeconds": life});
        if !audience.is_empty() {
            source["audience"] = (*audience).into();
        }
        json!({"serviceAccountToken": source})
    });
    let sources: Vec<Value> = sources.collect();
    let mut pod = services::server_pod(namespace, "a", node.name(), "a");
    pod["spec"]["volumes"] = json!([{"name": "tokens", "projected": {"sources": sources}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "tokens", "mountPath": "/tokens"}]);
    pod
}

async fn token_in(pod: &Value, name: &str) -> Result<String> {
    in_pod::shell(pod, &format!("cat /tokens/{name}")).await
}

fn claims(token: &str) -> Result<Value> {
    let claims = token.split('.').nth(1).context("no claims in the token")?;
    Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims)?)?)
}

/// What the API server thinks of a token.
async fn review(cluster: &Cluster, token: &str, audience: &str) -> Result<Value> {
    let audiences: Vec<&str> = Some(audience).into_iter().filter(|name| !name.is_empty()).collect();
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": audiences},
    });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = cluster.client().create_at(path, &review).await?;
    Ok(answer["status"].clone())
}

async fn token_is_for_whom_and_as_long_as_asked(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let tokens = [("plain", "", 3600), ("vault", "vault", 600), ("bank", "bank", 7200)];
    let pod = pods::run(&cluster, &token_pod(&namespace, &node, &tokens), LIMIT).await?;
    for (name, audience, life) in tokens {
        let token = token_in(&pod, name).await?;
        let claims = claims(&token)?;
        let lasts = claims["exp"].as_u64().zip(claims["iat"].as_u64()).map(|(e, i)| e - i);
        ensure!(lasts == Some(life), "{name} lasts {lasts:?}");
        ensure!(claims["kubernetes.io"]["pod"]["uid"] == pods::uid(&pod)?, "{claims}");
        ensure!(claims["kubernetes.io"]["node"]["name"] == node.name(), "{claims}");
        let status = review(&cluster, &token, audience).await?;
        ensure!(status["authenticated"] == true, "{name}: {status}");
        if !audience.is_empty() {
            ensure!(claims["aud"] == json!([audience]), "{claims}");
            let elsewhere = review(&cluster, &token, "").await?;
            ensure!(elsewhere["authenticated"] != true, "{name} opens the API: {elsewhere}");
        }
    }
    Ok(())
}

async fn token_ends_with_its_pod_and_leaves_nothing_on_the_node(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = token_pod(&namespace, &node, &[("plain", "", 3600)]);
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let token = token_in(&pod, "plain").await?;
    let uid = pods::uid(&pod)?;
    let mounts = || {
        let text = node.namespaces().run(|| Ok(fs::read_to_string("/proc/1/mountinfo")?))?;
        anyhow::Ok(text.lines().filter(|line| line.contains(uid)).map(str::to_owned).collect())
    };
    let found: Vec<String> = mounts()?;
    let volume = format!("pods/{uid}/volumes/kubernetes.io~projected/tokens ");
    let of_volume = found.iter().find(|line| line.contains(&volume)).context("no mount")?;
    ensure!(of_volume.contains(" - tmpfs "), "{of_volume}");
    // On the node's disk, beneath the mounts, there is nothing of it.
    ensure!(!on_disk(&node, &token)?, "the token is on disk");
    ensure!(review(&cluster, &token, "").await?["authenticated"] == true);

    let path = pods::path(&namespace, "a");
    cluster.client().delete(&path).await?;
    pods::wait_gone(&cluster, &path, LIMIT).await?;
    let found: Vec<String> = mounts()?;
    ensure!(found.is_empty(), "{found:?}");
    ensure!(!node.root_directory().join("pods").join(uid).exists());
    // Servers remember answers for some seconds.
    wait::until("refusal of the token", LIMIT, || async {
        let status = review(&cluster, &token, "").await?;
        let met = status["authenticated"] != true;
        Ok(if met { Look::Met(()) } else { Look::NotYet(status.to_string()) })
    })
    .await
}

/// Whether a text is in a file of the node's root directory as those see it who do not see the
/// node's mounts.
fn on_disk(node: &Node, text: &str) -> Result<bool> {
    let mut folders = vec![node.root_directory()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).unwrap_or_default();
                if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

async fn token_serves_on_across_a_restart(context: Arc<TestContext>) -> Result<()> {
    if peers_wanted() {
        return Ok(()); // They fetch a new one.
    }
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let pod = token_pod(&namespace, &node, &[("plain", "", 3607)]);
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let token = token_in(&pod, "plain").await?;
    node.agent()?.kill9().await?;
    node.agent()?.start()?;
    // A second pod shows that the agent is at work again.
    let other = services::server_pod(&namespace, "b", node.name(), "b");
    pods::run(&cluster, &other, LIMIT).await?;
    ensure!(token_in(&pod, "plain").await? == token, "there is another token");
    ensure!(review(&cluster, &token, "").await?["authenticated"] == true);
    Ok(())
}

async fn account_that_is_missing_is_named_until_it_comes(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "late", "namespace": namespace}});
    cluster.create(&account).await?;
    // The API takes no pod of an account that is not there, but it may go before the pod starts.
    let mut pod = token_pod(&namespace, &node, &[("plain", "", 3600)]);
    pod["spec"]["serviceAccountName"] = "late".into();
    pod["spec"]["volumes"]
        .as_array_mut()
        .context("no volumes")?
        .push(json!({"name": "map", "configMap": {"name": "late"}}));
    pod["spec"]["containers"][0]["volumeMounts"]
        .as_array_mut()
        .context("no mounts")?
        .push(json!({"name": "map", "mountPath": "/map"}));
    // Without the node nobody starts it in between.
    let account_path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/late");
    let elsewhere = pod["spec"]["nodeName"].take();
    pod["spec"]["schedulingGates"] = json!([{"name": "test/wait"}]);
    cluster.create(&pod).await?;
    cluster.client().delete(&account_path).await?;
    let path = pods::path(&namespace, "a");
    let open = json!({"spec": {"schedulingGates": null,
        "nodeSelector": {"kubernetes.io/hostname": elsewhere}}});
    cluster.client().merge_patch(&path, &open).await?;
    let pod = cluster.get_json(&path).await?;
    let expected = "failed to fetch token: serviceaccounts \"late\" not found";
    wait::until(expected, LIMIT, || async {
        let events = pods::events(&cluster, &pod).await?;
        let met = events.iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "FailedMount" && message.contains(expected)
        });
        Ok(if met { Look::Met(()) } else { Look::NotYet(json!(events).to_string()) })
    })
    .await?;
    cluster.create(&account).await?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "late", "namespace": namespace}, "data": {"k": "v"}});
    cluster.create(&map).await?;
    pods::wait_ready(&cluster, &path, LIMIT).await.map(drop)
}

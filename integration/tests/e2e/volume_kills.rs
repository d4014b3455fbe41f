//! Volumes of pods whose agent is killed while it makes them and while it takes them away.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![agent_killed_while_pods_start_and_stop_loses_no_file_and_leaves_no_mount]
}

/// Pods that come and go.
const PODS: usize = 4;
/// How often the agent is killed while they come, and again while they go.
const KILLS: u32 = 6;
/// How the name of the volume begins that the API server adds to each pod.
const TOKEN_VOLUME: &str = "kube-api-access-";
const SEED: &str = "NODED_TEST_SEED";

/// Lines of the node's mount table below the agent's root directory: place, kind. The volume with
/// the API's token, whose name ends differently in each pod, has its name without that.
fn mounts(node: &Node) -> Result<BTreeSet<String>> {
    let root = node.root_directory();
    let root = root.to_str().context("root directory")?;
    let text = node.namespaces().run(|| Ok(fs::read_to_string("/proc/1/mountinfo")?))?;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let place = line.split(' ').nth(4).unwrap_or_default();
        let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next());
        if place.starts_with(root) {
            let place = match place.split_once(TOKEN_VOLUME) {
                Some((before, _)) => format!("{before}{TOKEN_VOLUME}"),
                None => place.to_owned(),
            };
            let line = format!("{place} {}", kind.unwrap_or_default());
            ensure!(found.insert(line.clone()), "mounted twice: {line}");
        }
    }
    Ok(found)
}

fn pod(namespace: &str, name: &str, node: &Node, host: &str) -> Value {
    let volumes = json!([
        {"name": "map", "configMap": {"name": "settings"}},
        {"name": "secret", "secret": {"secretName": "settings"}},
        {"name": "fields", "downwardAPI": {"items": [
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "all", "projected": {"sources": [
            {"configMap": {"name": "settings"}},
            {"serviceAccountToken": {"path": "token"}}]}},
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "host", "hostPath": {"path": host, "type": "Directory"}},
    ]);
    let mut pod = services::server_pod(namespace, name, node.name(), name);
    let mounts = volumes.as_array().into_iter().flatten().map(|volume| {
        let name = volume["name"].as_str().unwrap_or_default();
        json!({"name": name, "mountPath": format!("/{name}")})
    });
    pod["spec"]["containers"][0]["volumeMounts"] = mounts.collect();
    pod["spec"]["volumes"] = volumes;
    pod
}

/// Kills the agent some times, after as many milliseconds as the dice say, and starts it again.
async fn kill_now_and_then(node: &Node, dice: &mut u64) -> Result<()> {
    for _ in 0..KILLS {
        *dice =
            dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // This is no wait for something: the moment of the kill is what is tried.
        tokio::time::sleep(Duration::from_millis(50 + (*dice >> 33) % 700)).await;
        node.agent()?.kill9().await?;
        node.agent()?.start()?;
    }
    Ok(())
}

async fn agent_killed_while_pods_start_and_stop_loses_no_file_and_leaves_no_mount(
    context: Arc<TestContext>,
) -> Result<()> {
    if peers_wanted() {
        return Ok(());
    }
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_secs()));
    integration::console::print(&format!("volume_kills: {SEED}={seed}\n"));
    let mut dice = seed;
    let host = node.directory().join("precious");
    fs::create_dir_all(&host)?;
    fs::write(host.join("kept"), "precious")?;
    let host = host.to_str().context("path")?.to_owned();
    for kind in ["ConfigMap", "Secret"] {
        let field = if kind == "Secret" { "stringData" } else { "data" };
        let object = json!({"apiVersion": "v1", "kind": kind, field: {"k": "v"},
            "metadata": {"name": "settings", "namespace": namespace}});
        cluster.create(&object).await?;
    }
    // This one stays, and nothing of it may change.
    let stays = pods::run(&cluster, &pod(&namespace, "stays", &node, &host), LIMIT).await?;
    in_pod::shell(&stays, "echo disk > /disk/f; echo memory > /memory/f").await?;
    let before = mounts(&node)?;
    let read = "cat /disk/f /memory/f /map/k /secret/k /all/k /fields/name /host/kept; \
                readlink /map/..data /secret/..data /all/..data; cat /all/token";
    let files = in_pod::shell(&stays, read).await?;

    let names: Vec<String> = (0..PODS).map(|number| format!("pod-{number}")).collect();
    for name in &names {
        cluster.create(&pod(&namespace, name, &node, &host)).await?;
    }
    kill_now_and_then(&node, &mut dice).await?;
    let mut expected = before.clone();
    for name in &names {
        let path = pods::path(&namespace, name);
        let running = pods::wait_ready(&cluster, &path, 2 * LIMIT).await?;
        let found = in_pod::shell(&running, "cat /map/k /secret/k /all/k /fields/name /host/kept");
        let found = found.await?;
        ensure!(found == format!("vvv{name}precious"), "{name}: {found}");
        in_pod::shell(&running, "echo x > /disk/f; echo x > /memory/f; echo x > /host/$(hostname)")
            .await?;
        let (old, new) = (pods::uid(&stays)?, pods::uid(&running)?);
        let own = before.iter().filter(|line| line.contains(old));
        expected.extend(own.map(|line| line.replace(old, new)).collect::<Vec<_>>());
    }
    let during = mounts(&node)?;
    ensure!(during == expected, "{during:#?} instead of {expected:#?}");

    for name in &names {
        cluster.client().delete(&pods::path(&namespace, name)).await?;
    }
    kill_now_and_then(&node, &mut dice).await?;
    for name in &names {
        pods::wait_gone(&cluster, &pods::path(&namespace, name), 2 * LIMIT).await?;
    }
    wait::until("the mounts there were before", LIMIT, || async {
        let after = mounts(&node)?;
        let left = fs::read_dir(node.root_directory().join("pods"))?.count();
        let met = after == before && left == 1;
        Ok(if met { Look::Met(()) } else { Look::NotYet(format!("{left} pods, {after:#?}")) })
    })
    .await?;
    ensure!(fs::read_to_string(format!("{host}/kept"))? == "precious");
    ensure!(fs::read_dir(&host)?.count() == 1 + PODS, "files of pods are lost");
    let path = pods::path(&namespace, "stays");
    let after = pods::wait_ready(&cluster, &path, LIMIT).await?;
    let id = |pod: &Value| pods::container_id(pod, "server");
    ensure!(id(&after)? == id(&stays)?, "the container was restarted: {}", after["status"]);
    let found = in_pod::shell(&stays, read).await?;
    ensure!(found == files, "{found} instead of {files}");
    Ok(())
}

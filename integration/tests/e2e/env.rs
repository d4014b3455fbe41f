//! Environment variables from ConfigMaps and Secrets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::node::peers_wanted;
use integration::runner::Test;
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

/// How soon after an object's appearance a pod that waits for it runs. Long for a start, short for
/// the next try of a pod that nobody wakes.
const SOON: Duration = Duration::from_secs(8);

pub fn tests() -> Vec<Test> {
    integration::tests![
        pod_starts_when_the_config_map_it_lacks_appears,
        pod_starts_when_the_key_it_lacks_appears_in_a_secret,
        bytes_that_are_no_text_are_handed_to_the_runtime,
        values_come_from_fields_resources_and_each_other,
        value_comes_from_a_file_of_an_init_container,
    ]
}

fn object(kind: &str, namespace: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": "source"},
        "data": data,
    })
}

/// A pod whose container takes all its environment from `variables` and runs.
fn waiting_pod(namespace: &str, node: &str, variables: Value) -> Value {
    let mut pod = pods::script_pod(namespace, "a", node, "exec sleep 600");
    pod["spec"]["containers"][0]["env"] = variables;
    pod
}

/// Waits until the container is shown as waiting with a message that begins so, does what ends the wait, and
/// checks that the pod then runs soon.
async fn check_recovery(
    context: &TestContext,
    pod: &Value,
    message: &str,
    supply: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let path = integration::resource::path_of(pod)?;
    cluster.create(pod).await?;
    pods::wait_for(&cluster, &path, LIMIT, |pod| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        let text = waiting["message"].as_str().unwrap_or_default();
        waiting["reason"] == "CreateContainerConfigError" && text.starts_with(message)
    })
    .await?;
    let supplied = Instant::now();
    supply().await?;
    pods::wait_ready(&cluster, &path, LIMIT).await?;
    let took = supplied.elapsed();
    // The kubelet tries again once in a while.
    ensure!(took < SOON || peers_wanted(), "ran after {took:?}");
    Ok(())
}

async fn pod_starts_when_the_config_map_it_lacks_appears(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let key = json!({"name": "source", "key": "k"});
    let variables = json!([{"name": "X", "valueFrom": {"configMapKeyRef": key}}]);
    let pod = waiting_pod(&namespace, node.name(), variables);
    check_recovery(&context, &pod, "configmap \"source\" not found", async || {
        cluster.create(&object("ConfigMap", &namespace, json!({"k": "v"}))).await.map(drop)
    })
    .await
}

async fn pod_starts_when_the_key_it_lacks_appears_in_a_secret(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let secret = cluster.create(&object("Secret", &namespace, json!({"other": "dg=="}))).await?;
    let path = integration::resource::path_of(&object("Secret", &namespace, Value::Null))?;
    let key = json!({"name": "source", "key": "k"});
    let variables = json!([{"name": "X", "valueFrom": {"secretKeyRef": key}}]);
    let pod = waiting_pod(&namespace, node.name(), variables);
    ensure!(secret["data"]["other"] == "dg==", "{secret}");
    let message = format!("couldn't find key k in Secret {namespace}/source");
    check_recovery(&context, &pod, &message, async || {
        let patch = json!({"data": {"k": "dg=="}});
        cluster.client().merge_patch(&path, &patch).await.map(drop)
    })
    .await
}

async fn bytes_that_are_no_text_are_handed_to_the_runtime(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    // The bytes ff fe 80 41.
    cluster.create(&object("Secret", &namespace, json!({"k": "//6AQQ=="}))).await?;
    let script =
        "for v in \"$X\" \"$P_k\"; do printf %s \"$v\" | od -An -tx1; done > /dev/termination-log";
    let mut pod = pods::script_pod(&namespace, "a", node.name(), script);
    pod["spec"]["restartPolicy"] = "Never".into();
    let container = &mut pod["spec"]["containers"][0];
    let key = json!({"name": "source", "key": "k"});
    container["env"] = json!([{"name": "X", "valueFrom": {"secretKeyRef": key}}]);
    container["envFrom"] = json!([{"prefix": "P_", "secretRef": {"name": "source"}}]);
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    let ended = &pods::container_status(&pod, "main")?["state"]["terminated"];
    let words: Vec<_> = ended["message"].as_str().unwrap_or_default().lines().collect();
    // Today's containerd writes the environment as JSON, where each byte that is no text becomes
    // the replacement character.
    let line = [" ff fe 80 41", " ef bf bd ef bf bd ef bf bd 41"];
    ensure!(words.len() == 2 && words.iter().all(|word| line.contains(word)), "{ended}");
    Ok(())
}

async fn values_come_from_fields_resources_and_each_other(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let script = "echo $NAME $ARG $LIMIT $IP $(printf %s \"$0\") > /dev/termination-log";
    let mut pod = pods::script_pod(&namespace, "a", node.name(), script);
    pod["spec"]["restartPolicy"] = "Never".into();
    let container = &mut pod["spec"]["containers"][0];
    container["args"] = json!(["$(NAME)-$(NOBODY)-$$(NAME)"]);
    container["resources"] = json!({"limits": {"memory": "32Mi"}});
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let limit = json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}});
    container["env"] = json!([
        {"name": "NAME", "valueFrom": field("metadata.name")},
        {"name": "ARG", "value": "$(NAME)/$(LATER)"},
        {"name": "LATER", "value": "x"},
        {"name": "LIMIT", "valueFrom": limit},
        {"name": "IP", "valueFrom": field("status.podIP")},
    ]);
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    let ended = &pods::container_status(&pod, "main")?["state"]["terminated"];
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    let expected = format!("a a/$(LATER) 32 {address} a-$(NOBODY)-$(NAME)\n");
    ensure!(ended["message"] == expected, "{ended}");
    Ok(())
}

async fn value_comes_from_a_file_of_an_init_container(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod =
        pods::script_pod(&namespace, "a", node.name(), "echo \"$X\" > /dev/termination-log");
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["volumes"] = json!([{"name": "files", "emptyDir": {}}]);
    let mut init = pod["spec"]["containers"][0].clone();
    init["name"] = "init".into();
    init["command"] = json!(["/bin/sh", "-c", "echo \"KEY='from the file'\" > /files/env"]);
    init["volumeMounts"] = json!([{"name": "files", "mountPath": "/files"}]);
    pod["spec"]["initContainers"] = json!([init]);
    let file = json!({"volumeName": "files", "path": "env", "key": "KEY"});
    pod["spec"]["containers"][0]["env"] = json!([{"name": "X", "valueFrom": {"fileKeyRef": file}}]);
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    let ended = &pods::container_status(&pod, "main")?["state"]["terminated"];
    ensure!(ended["message"] == "from the file\n", "{ended}");
    Ok(())
}

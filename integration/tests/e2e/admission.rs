//! Pods that a node does not take.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions, condition, peers_wanted};
use integration::runner::Test;
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        pod_too_big_for_the_node_fails,
        refused_pods_say_why_in_upstreams_words,
        allowed_sysctl_is_set_and_others_are_refused,
        critical_pod_takes_the_room_of_a_burstable_one,
        running_pods_stay_when_the_node_has_become_too_small,
        pod_with_a_field_that_is_not_supported_fails_and_names_it,
    ]
}

/// The pod after the shared node refused it; it has no container and no address.
async fn refused(context: &TestContext, change: impl FnOnce(&mut Value)) -> Result<Value> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::pause_pod(&namespace, "a", node.name());
    change(&mut pod["spec"]);
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Failed", "{}", pod["status"]);
    ensure!(pod["status"]["podIP"].is_null(), "{}", pod["status"]);
    let reason = pod["status"]["reason"].as_str().unwrap_or_default();
    pods::wait_events(&cluster, &pod, &[reason], LIMIT).await?;
    Ok(pod)
}

async fn pod_too_big_for_the_node_fails(context: Arc<TestContext>) -> Result<()> {
    let pod = refused(&context, |spec| {
        spec["containers"][0]["resources"] = json!({"requests": {"cpu": "1000"}});
    })
    .await?;
    ensure!(pod["status"]["reason"] == "OutOfcpu", "{}", pod["status"]);
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    let expected = "Node didn't have enough resource: cpu, requested: 1000000, used: ";
    ensure!(message.contains(expected), "message: {message}");
    Ok(())
}

async fn refused_pods_say_why_in_upstreams_words(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let named = |name: &str| pods::pause_pod(&namespace, name, node.name());
    let port = json!([{"containerPort": 80, "hostPort": 18_180, "hostIP": "127.0.0.3"}]);
    let mut holder = named("holder");
    holder["spec"]["containers"][0]["ports"] = port.clone();
    pods::run(&cluster, &holder, LIMIT).await?;

    let with = |name: &str, field: &str, value: Value| {
        let mut pod = named(name);
        pod["spec"][field] = value;
        pod
    };
    let sysctl = json!({"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]});
    let mut labelled = named("labelled");
    labelled["metadata"]["labels"] = json!({"kubernetes.io/os": "windows"});
    let mut clashing = named("clashing");
    clashing["spec"]["containers"][0]["ports"] = port;
    let cases = [
        (
            with("selective", "nodeSelector", json!({"noded.test/color": "green"})),
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            with("foreign", "os", json!({"name": "windows"})),
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        ),
        (
            labelled,
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        ),
        (
            with("tuned", "securityContext", sysctl),
            "SysctlForbidden",
            "forbidden sysctl: \"kernel.msgmax\" not allowlisted",
        ),
        (
            clashing,
            "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        ),
    ];
    for (pod, reason, message) in cases {
        let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
        ensure!(pod["status"]["phase"] == "Failed", "{}", pod["status"]);
        ensure!(pod["status"]["reason"] == reason, "{}", pod["status"]);
        let expected = format!("Pod was rejected: {message}");
        ensure!(pod["status"]["message"] == expected, "{}", pod["status"]);
        let events = pods::wait_events(&cluster, &pod, &[reason], LIMIT).await?;
        let told = events.iter().any(|event| event["message"] == message);
        ensure!(told, "{events:?}");
    }
    Ok(())
}

async fn allowed_sysctl_is_set_and_others_are_refused(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let options = NodeOptions {
        kubelet_config: json!({"allowedUnsafeSysctls": ["kernel.msg*"]}),
        ..NodeOptions::default()
    };
    let node = context.node(options).await?;
    let namespace = context.namespace().await?;
    let with_sysctl = |name: &str, sysctl: &str| {
        let script = "test $(cat /proc/sys/kernel/msgmax) = 12345";
        let mut pod = pods::script_pod(&namespace, name, node.name(), script);
        pod["spec"]["restartPolicy"] = "Never".into();
        pod["spec"]["securityContext"] = json!({"sysctls": [{"name": sysctl, "value": "12345"}]});
        pod
    };
    let set = pods::run_to_end(&cluster, &with_sysctl("a", "kernel.msgmax"), LIMIT).await?;
    ensure!(set["status"]["phase"] == "Succeeded", "{}", set["status"]);
    let refused = pods::run_to_end(&cluster, &with_sysctl("b", "kernel.shmmni"), LIMIT).await?;
    ensure!(refused["status"]["reason"] == "SysctlForbidden", "{}", refused["status"]);
    Ok(())
}

/// A pod that asks for some of the node's CPU and ends when it is asked to, with an error: the
/// kubelet shows a victim that ends well as Succeeded and forgets why it was ended.
fn asking(node: &Node, namespace: &str, name: &str, milli: u64) -> Value {
    let script = "trap 'exit 1' TERM; while :; do sleep 0.1; done";
    let mut pod = pods::script_pod(namespace, name, node.name(), script);
    pod["spec"]["terminationGracePeriodSeconds"] = 20.into();
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": format!("{milli}m")}});
    pod
}

/// CPU that pods may ask for on the node, in thousandths.
async fn allocatable_milli(node: &Node) -> Result<u64> {
    let object = node.cluster().get_json(&node.api_path()).await?;
    let text = object["status"]["allocatable"]["cpu"].as_str().context("allocatable CPU")?;
    Ok(match text.strip_suffix('m') {
        Some(milli) => milli.parse()?,
        None => text.parse::<u64>()? * 1000,
    })
}

async fn critical_pod_takes_the_room_of_a_burstable_one(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let all = allocatable_milli(&node).await?;
    let large = asking(&node, &namespace, "large", all - 300);
    let large = pods::run(&cluster, &large, LIMIT).await?;
    let small = pods::run(&cluster, &asking(&node, &namespace, "small", 100), LIMIT).await?;
    let mut critical = asking(&node, &namespace, "critical", 500);
    critical["spec"]["priorityClassName"] = "system-node-critical".into();
    pods::run(&cluster, &critical, LIMIT).await?;

    let path = pods::path(&namespace, "large");
    let victim = pods::wait_for(&cluster, &path, LIMIT, |pod| pod["status"]["phase"] == "Failed");
    let status = &victim.await?["status"];
    ensure!(status["reason"] == "Preempting", "{status}");
    ensure!(status["message"] == "Preempted in order to admit critical pod", "{status}");
    let target = condition(&json!({"status": status}), "DisruptionTarget").cloned();
    let target = target.with_context(|| format!("no DisruptionTarget: {status}"))?;
    ensure!(target["status"] == "True" && target["reason"] == "TerminationByKubelet", "{target}");
    let events = pods::wait_events(&cluster, &large, &["Preempting"], LIMIT).await?;
    let event = events.iter().find(|event| event["reason"] == "Preempting").context("event")?;
    ensure!(event["type"] == "Warning", "{event}");
    ensure!(event["message"] == "Preempted in order to admit critical pod", "{event}");
    let kept = cluster.get_json(&pods::path(&namespace, "small")).await?;
    ensure!(pods::is_ready(&kept), "{}", kept["status"]);
    ensure!(pods::container_id(&kept, "main")? == pods::container_id(&small, "main")?);
    Ok(())
}

async fn running_pods_stay_when_the_node_has_become_too_small(
    context: Arc<TestContext>,
) -> Result<()> {
    if peers_wanted() {
        return Ok(()); // They end such pods.
    }
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let all = allocatable_milli(&node).await?;
    let before = asking(&node, &namespace, "a", all - 300);
    let before = pods::run(&cluster, &before, LIMIT).await?;
    let agent = node.agent()?;
    agent.kill9().await?;
    let file = node.directory().join("agent/kubelet.yaml");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    config["systemReserved"] = json!({"cpu": format!("{}m", all - 200)});
    fs::write(&file, config.to_string())?;
    // Older than the agent that judges it, and there is no room.
    cluster.create(&asking(&node, &namespace, "b", 150)).await?;
    agent.start()?;
    let late = pods::wait_for(&cluster, &pods::path(&namespace, "b"), LIMIT, |pod| {
        pod["status"]["phase"] == "Failed"
    })
    .await?;
    ensure!(late["status"]["reason"] == "OutOfcpu", "{}", late["status"]);
    let after = cluster.get_json(&pods::path(&namespace, "a")).await?;
    ensure!(pods::is_ready(&after), "{}", after["status"]);
    ensure!(pods::container_id(&after, "main")? == pods::container_id(&before, "main")?);
    Ok(())
}

async fn pod_with_a_field_that_is_not_supported_fails_and_names_it(
    context: Arc<TestContext>,
) -> Result<()> {
    if peers_wanted() {
        return Ok(()); // They support it.
    }
    let pod = refused(&context, |spec| {
        spec["volumes"] =
            json!([{"name": "far", "nfs": {"server": "192.0.2.1", "path": "/export"}}]);
    })
    .await?;
    ensure!(pod["status"]["reason"] == "PodFeatureUnsupported", "{}", pod["status"]);
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("spec.volumes[0].nfs"), "message: {message}");
    Ok(())
}

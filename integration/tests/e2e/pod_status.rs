//! What the status of a pod says, and how often it is written.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::node::condition;
use integration::runner::Test;
use integration::watch::WatchEvent;
use integration::{TestContext, pods, wait};
use serde_json::{Value, json};

use crate::LIMIT;

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "PodScheduled", "Initialized", "ContainersReady", "Ready"];

pub fn tests() -> Vec<Test> {
    integration::tests![
        pod_takes_at_most_three_writes_to_ready_and_three_to_gone,
        thirty_pods_at_once_take_at_most_three_writes_each,
        container_status_tells_user_mounts_resources_and_generation,
        init_containers_are_told_in_the_order_of_the_spec,
        readiness_gate_of_others_decides_and_survives,
        status_that_somebody_else_changed_is_put_right,
    ]
}

/// The resource versions of the pod after its creation, without those of others.
fn writes<'a>(events: &'a [WatchEvent], name: &str) -> Vec<&'a Value> {
    let of_pod = events.iter().filter(|event| event.name() == name && event.kind == "MODIFIED");
    of_pod.map(|event| &event.object).collect()
}

/// One line for each event.
fn summary(events: &[WatchEvent]) -> String {
    let line = |event: &WatchEvent| {
        let (status, ready) = (&event.object["status"], condition(&event.object, "Ready"));
        let container = &status["containerStatuses"][0];
        format!(
            "{} {} {} IP {} Ready {} {container}\n",
            event.kind,
            event.name(),
            status["phase"],
            status["podIP"],
            ready.map_or(&Value::Null, |ready| &ready["status"]),
        )
    };
    events.iter().map(line).collect()
}

async fn pod_takes_at_most_three_writes_to_ready_and_three_to_gone(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut watch = cluster.watch(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
    let mut pod = pods::script_pod(&namespace, "a", node.name(), FOREVER);
    pod["spec"]["terminationGracePeriodSeconds"] = 60.into();
    cluster.create(&pod).await?;
    let mut seen = Vec::new();
    watch
        .until("Ready", LIMIT, |event| {
            seen.push(event.clone());
            pods::is_ready(&event.object)
        })
        .await?;
    let made = writes(&seen, "a").len();
    ensure!((1..=3).contains(&made), "{made} writes: {}", summary(&seen));

    seen.clear();
    cluster.client().delete(&pods::path(&namespace, "a")).await?;
    watch
        .until("deleted", LIMIT, |event| {
            seen.push(event.clone());
            event.kind == "DELETED"
        })
        .await?;
    // The first one is the mark of the deletion. The deletion itself shows as a grace of 0 first.
    let of_node = |pod: &&&Value| pod["metadata"]["deletionGracePeriodSeconds"] != 0;
    let made = writes(&seen, "a");
    let made = made.iter().filter(of_node).count() - 1;
    ensure!((1..=2).contains(&made), "{made} writes and the deletion: {}", summary(&seen));
    Ok(())
}

async fn thirty_pods_at_once_take_at_most_three_writes_each(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(integration::node::NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let mut watch = cluster.watch(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
    let names: Vec<String> = (0..30).map(|number| format!("pod-{number}")).collect();
    let create = names.iter().map(|name| {
        let pod = pods::pause_pod(&namespace, name, node.name());
        let cluster = Arc::clone(&cluster);
        async move { cluster.create(&pod).await }
    });
    futures::future::try_join_all(create).await?;
    let mut seen = Vec::new();
    let mut ready = std::collections::BTreeSet::new();
    watch
        .until("all Ready", LIMIT, |event| {
            seen.push(event.clone());
            if pods::is_ready(&event.object) {
                ready.insert(event.name().to_owned());
            }
            ready.len() == names.len()
        })
        .await?;
    let made: Vec<usize> = names.iter().map(|name| writes(&seen, name).len()).collect();
    ensure!(made.iter().all(|count| *count <= 3), "writes: {made:?} {}", summary(&seen));
    Ok(())
}

async fn container_status_tells_user_mounts_resources_and_generation(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::script_pod(&namespace, "a", node.name(), FOREVER);
    pod["spec"]["securityContext"] =
        json!({"runAsUser": 1000, "runAsGroup": 1001, "fsGroup": 1002});
    pod["spec"]["volumes"] = json!([{"name": "empty", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "empty", "mountPath": "/data", "readOnly": true},
        {"name": "empty", "mountPath": "/more"},
    ]);
    pod["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "32Mi"}});
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let generation = &pod["metadata"]["generation"];
    ensure!(generation.is_u64() && pod["status"]["observedGeneration"] == *generation);
    for kind in OWNED {
        let found = condition(&pod, kind).with_context(|| format!("no {kind}"))?;
        ensure!(found["observedGeneration"] == *generation, "{found}");
    }
    let status = pods::container_status(&pod, "main")?;
    ensure!(status["user"]["linux"]["uid"] == 1000, "{status}");
    ensure!(status["user"]["linux"]["gid"] == 1001, "{status}");
    let groups = status["user"]["linux"]["supplementalGroups"].as_array();
    ensure!(groups.is_some_and(|groups| groups.contains(&json!(1002))), "{status}");
    let mounts = status["volumeMounts"].as_array().context("no volumeMounts")?;
    let data = mounts.iter().find(|mount| mount["mountPath"] == "/data").context("no /data")?;
    ensure!(data["readOnly"] == true && data["recursiveReadOnly"] == "Disabled", "{data}");
    ensure!(mounts.iter().any(|mount| mount["mountPath"] == "/more"), "{status}");
    ensure!(status["allocatedResources"]["cpu"] == "10m", "{status}");
    ensure!(status["resources"]["limits"]["memory"] == "32Mi", "{status}");
    Ok(())
}

async fn init_containers_are_told_in_the_order_of_the_spec(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::script_pod(&namespace, "a", node.name(), FOREVER);
    let init = |name: &str, script: &str| {
        let mut container = pod["spec"]["containers"][0].clone();
        container["name"] = name.into();
        container["command"] = json!(["/bin/sh", "-c", script]);
        container
    };
    let hold = "until test -f /go/on; do sleep 0.1; done";
    let mut list = vec![init("second", hold), init("first", "exit 0"), init("side", FOREVER)];
    list[2]["restartPolicy"] = "Always".into();
    let notes = node.directory().join(format!("go-{namespace}"));
    std::fs::create_dir_all(&notes)?;
    list[0]["volumeMounts"] = json!([{"name": "go", "mountPath": "/go"}]);
    pod["spec"]["volumes"] = json!([{"name": "go", "hostPath": {"path": notes}}]);
    pod["spec"]["initContainers"] = list.into();
    cluster.create(&pod).await?;
    let path = pods::path(&namespace, "a");
    let held = pods::wait_for(&cluster, &path, LIMIT, |pod| {
        pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object()
    })
    .await?;
    let names = |pod: &Value| -> Vec<String> {
        let list = pod["status"]["initContainerStatuses"].as_array();
        list.into_iter().flatten().map(|status| status["name"].to_string()).collect()
    };
    ensure!(names(&held) == ["\"second\"", "\"first\"", "\"side\""], "{:?}", names(&held));
    ensure!(held["status"]["phase"] == "Pending", "{}", held["status"]);
    let regular = &pods::container_status(&held, "main")?["state"]["waiting"];
    ensure!(regular["reason"] == "PodInitializing", "{regular}");
    let initialized = condition(&held, "Initialized").context("no Initialized")?;
    ensure!(initialized["reason"] == "ContainersNotInitialized", "{initialized}");
    let message = "containers with incomplete status: [second first side]";
    ensure!(initialized["message"] == message, "{initialized}");

    std::fs::write(notes.join("on"), "")?;
    let pod = pods::wait_ready(&cluster, &path, LIMIT).await?;
    let statuses = &pod["status"]["initContainerStatuses"];
    for index in 0..2 {
        let status = &statuses[index];
        ensure!(status["state"]["terminated"]["reason"] == "Completed", "{status}");
        ensure!(status["ready"] == true && status["started"] == false, "{status}");
    }
    ensure!(statuses[2]["ready"] == true && statuses[2]["started"] == true, "{statuses}");
    Ok(())
}

async fn readiness_gate_of_others_decides_and_survives(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::script_pod(&namespace, "a", node.name(), FOREVER);
    pod["spec"]["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    cluster.create(&pod).await?;
    let path = pods::path(&namespace, "a");
    let is_true = |pod: &Value, kind: &str| {
        condition(pod, kind).is_some_and(|found| found["status"] == "True")
    };
    let held =
        pods::wait_for(&cluster, &path, LIMIT, |pod| is_true(pod, "ContainersReady")).await?;
    let ready = condition(&held, "Ready").context("no Ready")?;
    ensure!(ready["reason"] == "ReadinessGatesNotReady", "{ready}");
    for status in ["True", "False", "True"] {
        let gate = json!({"type": "example.com/gate", "status": status});
        let patch = json!({"status": {"conditions": [gate]}});
        cluster.client().strategic_patch(&format!("{path}/status"), &patch).await?;
        let wanted = status == "True";
        let pod =
            pods::wait_for(&cluster, &path, LIMIT, |pod| pods::is_ready(pod) == wanted).await?;
        let gate = condition(&pod, "example.com/gate").context("the gate is gone")?;
        ensure!(gate["status"] == status, "{gate}");
    }
    Ok(())
}

async fn status_that_somebody_else_changed_is_put_right(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), FOREVER);
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let path = pods::path(&namespace, "a");
    let started = &pod["status"]["startTime"];
    let wrong = json!({"status": {
        "podIP": "10.9.9.9",
        "conditions": [{"type": "Ready", "status": "False", "reason": "Wrong"}],
    }});
    cluster.client().strategic_patch(&format!("{path}/status"), &wrong).await?;
    let address = pod["status"]["podIP"].clone();
    let right = wait::until_value(
        "the right status",
        LIMIT,
        || cluster.get_json(&path),
        |pod| pods::is_ready(pod) && pod["status"]["podIP"] == address,
    )
    .await?;
    ensure!(right["status"]["startTime"] == *started, "{}", right["status"]);
    ensure!(condition(&right, "Ready").is_some_and(|ready| ready["reason"].is_null()));
    Ok(())
}

//! A pod from its creation to the last trace of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::isolation::cgroups;
use integration::node::{Node, NodeOptions, condition};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::watch::WatchEvent;
use integration::{TestContext, pods};
use serde_json::Value;

use crate::LIMIT;

/// Ends well at once when asked to.
const POLITE: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

pub fn tests() -> Vec<Test> {
    integration::tests![
        pod_goes_from_pending_to_ready_to_gone,
        containers_output_is_in_the_pods_log_folder,
        deleted_pods_leave_nothing_on_their_node,
        pods_that_end_are_deleted_at_once,
        thirty_pods_at_once_come_and_go,
    ]
}

async fn pod_goes_from_pending_to_ready_to_gone(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut watch = cluster.watch(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
    let mut pod = pods::script_pod(&namespace, "a", node.name(), POLITE);
    pod["spec"]["terminationGracePeriodSeconds"] = 60.into();
    cluster.create(&pod).await?;
    let mut seen = Vec::new();
    let ready = watch
        .until("Ready", LIMIT, |event| {
            seen.push(event.clone());
            pods::is_ready(&event.object)
        })
        .await?
        .object;
    check_way_to_ready(&seen)?;
    check_running(&ready, &node)?;
    pods::wait_events(&cluster, &ready, &["Pulled", "Created", "Started"], LIMIT).await?;

    cluster.client().delete(&pods::path(&namespace, "a")).await?;
    let last = watch.until("deleted", LIMIT, |event| event.kind == "DELETED").await?.object;
    let ended = &pods::container_status(&last, "main")?["state"]["terminated"];
    ensure!(ended["exitCode"] == 0 && ended["reason"] == "Completed", "state at the end: {ended}");
    ensure!(ended["containerID"] == pods::container_status(&ready, "main")?["containerID"]);
    ensure!(ended["startedAt"].is_string() && ended["finishedAt"].is_string(), "{ended}");
    ensure!(last["status"]["phase"] == "Succeeded", "phase at the end: {}", last["status"]);
    let is_false = |kind| condition(&last, kind).is_some_and(|found| found["status"] == "False");
    ensure!(is_false("Ready") && is_false("ContainersReady"), "{}", last["status"]["conditions"]);
    pods::wait_events(&cluster, &ready, &["Killing"], LIMIT).await?;
    Ok(())
}

/// Phases only go forward, and the container was shown as being created.
fn check_way_to_ready(seen: &[WatchEvent]) -> Result<()> {
    let phases: Vec<&str> =
        seen.iter().filter_map(|event| event.object["status"]["phase"].as_str()).collect();
    ensure!(phases.first() == Some(&"Pending"), "phases: {phases:?}");
    ensure!(phases.is_sorted_by_key(|phase| *phase != "Pending"), "phases: {phases:?}");
    for event in seen {
        if let Some(waiting) =
            event.object["status"]["containerStatuses"][0]["state"]["waiting"].as_object()
        {
            ensure!(waiting["reason"] == "ContainerCreating", "waiting: {waiting:?}");
        }
    }
    Ok(())
}

fn check_running(pod: &Value, node: &Node) -> Result<()> {
    let status = &pod["status"];
    ensure!(status["phase"] == "Running", "{status}");
    for kind in
        ["PodReadyToStartContainers", "PodScheduled", "Initialized", "ContainersReady", "Ready"]
    {
        let found = condition(pod, kind).with_context(|| format!("no {kind} in {status}"))?;
        ensure!(found["status"] == "True", "{kind}: {found}");
        ensure!(found["lastTransitionTime"].is_string(), "{kind}: {found}");
    }
    ensure!(status["hostIP"] == node.place().v4().to_string(), "{status}");
    ensure!(status["hostIPs"][0]["ip"] == status["hostIP"], "{status}");
    let address = status["podIP"].as_str().context("no podIP")?;
    ensure!(address.starts_with("10.244."), "podIP {address}");
    ensure!(status["podIPs"][0]["ip"] == address, "{status}");
    ensure!(status["startTime"].is_string() && status["qosClass"] == "BestEffort", "{status}");
    let container = pods::container_status(pod, "main")?;
    ensure!(container["ready"] == true && container["started"] == true, "{container}");
    ensure!(container["restartCount"] == 0, "{container}");
    ensure!(container["state"]["running"]["startedAt"].is_string(), "{container}");
    ensure!(container["image"] == integration::real_runtime::BUSYBOX_IMAGE, "{container}");
    ensure!(container["imageID"].as_str().is_some_and(|id| id.contains("sha256:")), "{container}");
    let id = container["containerID"].as_str().unwrap_or_default();
    ensure!(id.starts_with("containerd://"), "{container}");
    Ok(())
}

async fn containers_output_is_in_the_pods_log_folder(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let script = "echo to the output; echo to the error >&2; trap 'exit 0' TERM; \
                  while :; do sleep 0.1; done";
    let pod = pods::script_pod(&namespace, "a", node.name(), script);
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let folder = node.var_log().join(format!("pods/{namespace}_a_{}/main", pods::uid(&pod)?));
    let text = wait::until_value(
        "output of the container",
        LIMIT,
        || async { Ok(fs::read_to_string(folder.join("0.log"))?) },
        |text| text.lines().count() == 2,
    )
    .await?;
    for expected in ["stdout F to the output", "stderr F to the error"] {
        let found = text.lines().filter_map(|line| line.split_once(' '));
        ensure!(found.into_iter().any(|(_, rest)| rest == expected), "log: {text}");
    }
    // Log collectors read the files through links of this name.
    let id = pods::container_id(&pod, "main")?;
    let link = node.var_log().join(format!("containers/a_{namespace}_main-{id}.log"));
    let target = fs::read_link(&link).with_context(|| format!("no link {}", link.display()))?;
    ensure!(target.ends_with(format!("{namespace}_a_{}/main/0.log", pods::uid(&pod)?)));
    Ok(())
}

async fn deleted_pods_leave_nothing_on_their_node(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let mut uids = Vec::new();
    for name in ["a", "b", "c"] {
        let mut pod = pods::script_pod(&namespace, name, node.name(), POLITE);
        pod["spec"]["volumes"] = serde_json::json!([
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
        ]);
        pod["spec"]["containers"][0]["volumeMounts"] = serde_json::json!([
            {"name": "disk", "mountPath": "/disk"},
            {"name": "memory", "mountPath": "/memory"},
        ]);
        let pod = pods::run(&cluster, &pod, LIMIT).await?;
        ensure!(!traces(&node, pods::uid(&pod)?).await?.is_empty(), "nothing is looked at");
        uids.push(pods::uid(&pod)?.to_owned());
    }
    for name in ["a", "b", "c"] {
        cluster.client().delete(&pods::path(&namespace, name)).await?;
    }
    for name in ["a", "b", "c"] {
        pods::wait_gone(&cluster, &pods::path(&namespace, name), LIMIT).await?;
    }
    wait::until("no trace of the pods", LIMIT, || async {
        let mut found = Vec::new();
        for uid in &uids {
            found.extend(traces(&node, uid).await?);
        }
        found.extend(node.runtime().containers().await?);
        let networks = node.namespaces().run(|| Ok(fs::read_dir("/run/netns")?.count()))?;
        if networks > 0 {
            found.push(format!("{networks} network namespaces"));
        }
        Ok(if found.is_empty() { Look::Met(()) } else { Look::NotYet(found.join("\n")) })
    })
    .await?;

    let (name, folder) = (node.name().to_owned(), node.directory().to_owned());
    node.remove().await?;
    let left: Vec<PathBuf> = cgroups::find(node.cgroup_root().trim_start_matches('/'))
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(&format!("-{name}")))
        .collect();
    ensure!(left.is_empty(), "cgroups after the node's end: {left:?}");
    ensure!(!folder.exists(), "files after the node's end");
    Ok(())
}

/// Everything on a node that carries a pod's UID: folders, mounts and cgroups.
pub(crate) async fn traces(node: &Arc<Node>, uid: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in [node.root_directory().join("pods"), node.var_log().join("pods")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(uid) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    // The node's own first process; the thread that reads is not in its process namespace.
    let mounts = node.namespaces().run(|| Ok(fs::read_to_string("/proc/1/mountinfo")?))?;
    found.extend(mounts.lines().filter(|line| line.contains(uid)).map(str::to_owned));
    for hierarchy in cgroups::hierarchies() {
        let top = hierarchy.join(node.cgroup_root().trim_start_matches('/'));
        collect_folders(&top, &format!("pod{uid}"), &mut found);
    }
    Ok(found)
}

fn collect_folders(folder: &Path, name: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == name {
            found.push(entry.path().display().to_string());
        } else {
            collect_folders(&entry.path(), name, found);
        }
    }
}

async fn pods_that_end_are_deleted_at_once(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::script_pod(&namespace, "a", node.name(), "exit 0");
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["terminationGracePeriodSeconds"] = 300.into();
    pods::run_to_end(&cluster, &pod, LIMIT).await?;
    cluster.client().delete(&pods::path(&namespace, "a")).await?;
    pods::wait_gone(&cluster, &pods::path(&namespace, "a"), LIMIT).await
}

async fn thirty_pods_at_once_come_and_go(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let names: Vec<String> = (0..30).map(|number| format!("pod-{number}")).collect();
    let create = names.iter().map(|name| {
        let pod = pods::pause_pod(&namespace, name, node.name());
        let cluster = Arc::clone(&cluster);
        async move { cluster.create(&pod).await }
    });
    futures::future::try_join_all(create).await?;
    let mut addresses = std::collections::BTreeSet::new();
    for name in &names {
        let pod = pods::wait_ready(&cluster, &pods::path(&namespace, name), LIMIT).await?;
        ensure!(pod["status"]["containerStatuses"][0]["restartCount"] == 0, "{}", pod["status"]);
        addresses.insert(pod["status"]["podIP"].to_string());
    }
    ensure!(addresses.len() == names.len(), "addresses: {addresses:?}");
    for name in &names {
        cluster.client().delete(&pods::path(&namespace, name)).await?;
    }
    for name in &names {
        pods::wait_gone(&cluster, &pods::path(&namespace, name), LIMIT).await?;
    }
    wait::until_value(
        "no container",
        LIMIT,
        || node.runtime().containers(),
        |containers| containers.is_empty(),
    )
    .await
    .map(drop)
}

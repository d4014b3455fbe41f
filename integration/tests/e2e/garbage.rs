//! What nobody cares for any more goes, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::cgroups::hierarchy;

pub fn tests() -> Vec<Test> {
    integration::tests![
        what_a_pod_left_goes_when_it_was_deleted_and_wiped_behind_the_agents_back,
        foreign_files_mounted_in_an_orphans_directory_survive,
        dead_containers_are_bounded,
    ]
}

/// Ids of containers and sandboxes of a pod in containerd.
async fn in_runtime(node: &Node, uid: &str, kind: &str) -> Result<Vec<String>> {
    let filter = format!(
        "labels.\"io.kubernetes.pod.uid\"=={uid},labels.\"io.cri-containerd.kind\"=={kind}"
    );
    let printed = node.runtime().ctr(&["containers", "list", "--quiet", &filter]).await?;
    Ok(printed.lines().map(str::to_owned).collect())
}

/// Takes everything of a pod out of containerd, which then knows nothing of it.
async fn wipe(node: &Node, uid: &str) -> Result<()> {
    let runtime = node.runtime();
    for kind in ["container", "sandbox"] {
        for id in in_runtime(node, uid, kind).await? {
            // The shim may hang up before it has answered; then the task is gone at the next try.
            wait::until("deletion of the task", LIMIT, || async {
                Ok(match runtime.ctr(&["task", "delete", "--force", &id]).await {
                    Ok(_) => Look::Met(()),
                    Err(error) if error.to_string().contains("not found") => Look::Met(()),
                    Err(error) => Look::NotYet(error.to_string()),
                })
            })
            .await?;
            runtime.ctr(&["containers", "delete", &id]).await?;
        }
    }
    runtime.restart().await
}

/// Lines of the node's mount table that name `what`.
fn mounts(node: &Node, what: &str) -> Result<Vec<String>> {
    let text = node.namespaces().run(|| Ok(fs::read_to_string("/proc/1/mountinfo")?))?;
    Ok(text.lines().filter(|line| line.contains(what)).map(str::to_owned).collect())
}

/// Everything on the node that is named after the pod or its container.
fn traces(node: &Node, uid: &str, container: &str) -> Result<Vec<String>> {
    let mut found = mounts(node, uid)?;
    let folders = [
        node.root_directory().join("pods"),
        node.var_log().join("pods"),
        node.var_log().join("containers"),
    ];
    for folder in folders {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.contains(uid) || name.contains(container) {
                found.push(folder.join(name).display().to_string());
            }
        }
    }
    for controller in ["cpu", "memory"] {
        let pods = hierarchy(controller)?.join(node.cgroup_root().trim_start_matches('/'));
        let cgroup = pods.join(format!("kubepods/besteffort/pod{uid}"));
        if cgroup.exists() {
            found.push(cgroup.display().to_string());
        }
    }
    Ok(found)
}

async fn what_a_pod_left_goes_when_it_was_deleted_and_wiped_behind_the_agents_back(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let script = "echo hello; echo x > /disk/x; echo x > /memory/x; exec sleep 600";
    let mut pod = pods::script_pod(&namespace, "a", node.name(), script);
    pod["spec"]["volumes"] = json!([
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "disk", "mountPath": "/disk"},
        {"name": "memory", "mountPath": "/memory"},
    ]);
    let gone = pods::run(&cluster, &pod, LIMIT).await?;
    pod["metadata"]["name"] = "b".into();
    let kept = pods::run(&cluster, &pod, LIMIT).await?;
    let id = |pod: &Value| pods::container_id(pod, "main");
    node.agent()?.kill9().await?;
    let uid = pods::uid(&gone)?;
    wipe(&node, uid).await?;
    cluster.client().force_delete(&pods::path(&namespace, "a")).await?;
    let left = traces(&node, uid, &id(&gone)?)?;
    // Two mounts, a directory, logs, a link to them, and a cgroup.
    ensure!(left.len() >= 6, "{left:?}");

    node.agent()?.start()?;
    // The kubelet looks at logs once a minute.
    let limit = if peers_wanted() { 2 * LIMIT } else { LIMIT };
    wait::until("removal of all that the pod left", limit, || async {
        let left = traces(&node, uid, &id(&gone)?)?;
        Ok(if left.is_empty() { Look::Met(()) } else { Look::NotYet(format!("{left:?}")) })
    })
    .await?;
    let after = pods::wait_ready(&cluster, &pods::path(&namespace, "b"), LIMIT).await?;
    ensure!(id(&after)? == id(&kept)?, "{}", after["status"]);
    let traces = traces(&node, pods::uid(&kept)?, &id(&kept)?)?;
    ensure!(traces.len() >= 6, "{traces:?}");
    Ok(())
}

/// Makes a folder with a file that must not go, and mounts it at `target` inside the node.
fn mount_precious(node: &Node, name: &str, target: &Path) -> Result<PathBuf> {
    let source = node.directory().join("precious").join(name);
    fs::create_dir_all(&source)?;
    fs::create_dir_all(target)?;
    let file = source.join("file");
    fs::write(&file, "precious")?;
    let none = None::<&str>;
    node.namespaces().run(|| {
        mount(Some(&source), target, none, MsFlags::MS_BIND, none).context("cannot bind a folder")
    })?;
    Ok(file)
}

async fn foreign_files_mounted_in_an_orphans_directory_survive(
    context: Arc<TestContext>,
) -> Result<()> {
    if peers_wanted() {
        return Ok(()); // They leave both directories.
    }
    let node = context.node(NodeOptions::default()).await?;
    let agent = node.agent()?;
    agent.kill9().await?;
    let orphan = |number: u8| {
        let uid = format!("{number}0000000-0000-4000-8000-000000000000");
        node.root_directory().join("pods").join(uid)
    };
    let volume = orphan(1).join("volumes/kubernetes.io~local-volume/data");
    let in_volume = mount_precious(&node, "volume", &volume)?;
    let elsewhere = mount_precious(&node, "elsewhere", &orphan(2).join("somewhere"))?;
    fs::create_dir_all(orphan(3).join("volumes/kubernetes.io~empty-dir/data"))?;
    fs::write(orphan(3).join("volumes/kubernetes.io~empty-dir/data/x"), "x")?;
    std::os::unix::fs::symlink(&in_volume, orphan(3).join("link"))?;

    agent.start()?;
    wait::until("removal of orphans", LIMIT, || async {
        let told = agent.log_text().matches("is still mounted").count();
        let left: Vec<u8> = (1..=3).filter(|number| orphan(*number).exists()).collect();
        Ok(if left == [2] && told == 1 {
            Look::Met(())
        } else {
            Look::NotYet(format!("left {left:?}, told {told} times"))
        })
    })
    .await?;
    for file in [in_volume, elsewhere] {
        ensure!(fs::read_to_string(&file)? == "precious", "{}", file.display());
    }
    ensure!(mounts(&node, "somewhere")?.len() == 1);
    ensure!(mounts(&node, "kubernetes.io~local-volume")?.is_empty());
    Ok(())
}

async fn dead_containers_are_bounded(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let options = NodeOptions {
        kubelet_config: json!({"crashLoopBackOff": {"maxContainerRestartPeriod": "1s"}}),
        ..NodeOptions::default()
    };
    let node = context.node(options).await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exit 1");
    let pod = cluster.create(&pod).await?;
    let uid = pods::uid(&pod)?;
    pods::wait_for(&cluster, &pods::path(&namespace, "a"), LIMIT, |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(5)
    })
    .await?;
    // The last one that ended, and the one that runs or has just ended.
    let bounded = wait::until("few dead containers", LIMIT, || async {
        let held = in_runtime(&node, uid, "container").await?;
        let logs = node.var_log().join("pods").join(format!("{namespace}_a_{uid}/main"));
        let logs = fs::read_dir(logs)?.count();
        Ok(if held.len() <= 2 && logs <= 2 {
            Look::Met(())
        } else {
            Look::NotYet(format!("{held:?}, {logs} logs"))
        })
    });
    bounded.await
}

//! What pods may leave behind on a node.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use integration::node::Node;
use integration::wait::{self, Look};

use crate::pod_life;

/// Waits until a node has nothing of these pods, and nothing of any pod in its runtime.
pub async fn wait_none(node: &Arc<Node>, uids: &[String], limit: Duration) -> Result<()> {
    wait::until("no trace of the pods", limit, || async {
        let mut found = in_runtime(node).await?;
        for uid in uids {
            found.extend(pod_life::traces(node, uid).await?);
        }
        Ok(if found.is_empty() { Look::Met(()) } else { Look::NotYet(found.join("\n")) })
    })
    .await
}

/// Sandboxes, containers, processes, mounts, networks, addresses and links to logs.
async fn in_runtime(node: &Node) -> Result<Vec<String>> {
    let mut found = node.runtime().containers().await?;
    let tasks = node.runtime().ctr(&["task", "list", "--quiet"]).await?;
    found.extend(tasks.lines().map(|task| format!("task {task}")));
    let state = format!("{}/", node.directory().join("containerd/state").display());
    let (mounts, networks) = node.namespaces().run(|| {
        let mounts = fs::read_to_string("/proc/1/mountinfo")?;
        Ok((mounts, names(Path::new("/run/netns"))))
    })?;
    found.extend(mounts.lines().filter(|line| line.contains(&state)).map(str::to_owned));
    found.extend(networks.into_iter().map(|name| format!("network namespace {name}")));
    let addresses = names(&node.directory().join("containerd/cni-addresses/noded-test"));
    let addresses = addresses.into_iter().filter(|name| name.parse::<IpAddr>().is_ok());
    found.extend(addresses.map(|address| format!("address {address}")));
    let links = names(&node.var_log().join("containers"));
    found.extend(links.into_iter().map(|name| format!("link {name}")));
    Ok(found)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

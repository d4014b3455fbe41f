//! The surroundings themselves: they come up, run a pod behind the real kubelet, and vanish.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::isolation::{leftovers, variable};
use integration::node::NodeOptions;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};

/// Ample: a pause pod takes half a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

pub fn tests() -> Vec<Test> {
    integration::tests![peers_run_a_pod, killed_run_leaves_nothing]
}

async fn peers_run_a_pod(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.peer_node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    cluster.create(&pods::pause_pod(&namespace, "a", node.name())).await?;
    let path = pods::path(&namespace, "a");
    pods::wait_ready(&cluster, &path, LIMIT).await?;
    cluster.client().delete(&path).await?;
    pods::wait_gone(&cluster, &path, LIMIT).await
}

/// A run inside this one is killed while a pod runs in it.
async fn killed_run_leaves_nothing(_context: Arc<TestContext>) -> Result<()> {
    let directory = std::env::temp_dir();
    let mut inner = Command::new("/proc/self/exe")
        .args(["--exact", "ground::peers_run_a_pod"])
        .env_remove(variable::ROLE)
        .env_remove(variable::RUN_DIRECTORY)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start a run inside this run")?;
    let name = wait::until("directory of the inner run", LIMIT, || async {
        for entry in std::fs::read_dir(&directory)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let cgroups = integration::isolation::cgroups::find(&name);
            if name.starts_with(integration::isolation::PREFIX) && !cgroups.is_empty() {
                return Ok(Look::Met(name));
            }
        }
        Ok(Look::NotYet("none with a node".to_owned()))
    })
    .await?;
    inner.kill()?;
    inner.wait()?;
    wait::until("end of the inner run", LIMIT, || async {
        let left = leftovers::of_run(&name);
        Ok(if left.is_empty() { Look::Met(()) } else { Look::NotYet(left.join("\n")) })
    })
    .await?;
    ensure!(integration::isolation::cgroups::find(&name).is_empty(), "a cgroup is left");
    Ok(())
}

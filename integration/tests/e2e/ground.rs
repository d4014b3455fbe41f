//! The surroundings themselves: they come up, run pods behind the real kubelet and kube-proxy,
//! and vanish.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::ground::Lane;
use integration::isolation::{PREFIX, cgroups, leftovers, variable};
use integration::node::{NodeOptions, PodFamilies};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services, traffic};

/// Ample: a pause pod takes half a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

pub fn tests() -> Vec<Test> {
    integration::tests![
        peers_run_a_pod,
        peers_run_a_pod_on_debian_containerd,
        pods_of_peers_get_both_families,
        pods_outlive_containerd,
        services_of_peers_are_reached_from_everywhere,
        killed_run_leaves_nothing;
        alone: api_server_keeps_objects_over_a_restart,
    ]
}

async fn peers_run_a_pod(context: Arc<TestContext>) -> Result<()> {
    run_a_pod(&context, NodeOptions::default()).await
}

async fn peers_run_a_pod_on_debian_containerd(context: Arc<TestContext>) -> Result<()> {
    run_a_pod(&context, NodeOptions { lane: Lane::Debian, ..NodeOptions::default() }).await
}

async fn run_a_pod(context: &TestContext, options: NodeOptions) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.peer_node(options).await?;
    let namespace = context.namespace().await?;
    cluster.create(&pods::pause_pod(&namespace, "a", node.name())).await?;
    let path = pods::path(&namespace, "a");
    pods::wait_ready(&cluster, &path, LIMIT).await?;
    cluster.client().delete(&path).await?;
    pods::wait_gone(&cluster, &path, LIMIT).await
}

async fn pods_of_peers_get_both_families(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let options = NodeOptions { pods: PodFamilies::Dual, ..NodeOptions::default() };
    let node = context.peer_node(options).await?;
    let namespace = context.namespace().await?;
    cluster.create(&services::server_pod(&namespace, "a", node.name(), "a")).await?;
    let pod = pods::wait_ready(&cluster, &pods::path(&namespace, "a"), LIMIT).await?;
    let addresses = pod["status"]["podIPs"].as_array().context("no addresses")?;
    ensure!(addresses.len() == 2, "addresses: {addresses:?}");
    in_pod::listening(&pod).await?;
    for address in addresses {
        let address: IpAddr = address["ip"].as_str().context("no address")?.parse()?;
        let server = SocketAddr::new(address, services::SERVER_PORT);
        ensure!(traffic::hostname(None, server).await? == "a");
    }
    Ok(())
}

async fn pods_outlive_containerd(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.peer_node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    cluster.create(&services::server_pod(&namespace, "a", node.name(), "a")).await?;
    let path = pods::path(&namespace, "a");
    let pod = pods::wait_ready(&cluster, &path, LIMIT).await?;
    in_pod::listening(&pod).await?;
    node.runtime().restart().await?;
    ensure!(traffic::hostname(None, services::pod_address(&pod)?).await? == "a");
    let id = &pods::container_status(&pod, "server")?["containerID"];
    let later = pods::wait_ready(&cluster, &path, LIMIT).await?;
    ensure!(id == &pods::container_status(&later, "server")?["containerID"], "a new container");
    Ok(())
}

async fn api_server_keeps_objects_over_a_restart(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let namespace = context.namespace().await?;
    cluster.stop_api_server().await?;
    ensure!(cluster.get_json("/api/v1/nodes").await.is_err(), "it still answers");
    cluster.start_api_server().await?;
    cluster.get_json(&format!("/api/v1/namespaces/{namespace}")).await?;
    Ok(())
}

async fn services_of_peers_are_reached_from_everywhere(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster_with_dns().await?;
    let (near, far) = tokio::try_join!(
        context.peer_node(NodeOptions::default()),
        context.peer_node(NodeOptions::default())
    )?;
    let namespace = context.namespace().await?;
    cluster.create(&services::server_pod(&namespace, "server", far.name(), "server")).await?;
    cluster.create(&pods::script_pod(&namespace, "client", near.name(), "sleep 600")).await?;
    let service = services::service(&namespace, "web", "server", "NodePort");
    let service = cluster.create(&service).await?;
    for pod in ["server", "client"] {
        pods::wait_ready(&cluster, &pods::path(&namespace, pod), LIMIT).await?;
    }
    let port = services::node_port(&service, "http")?;
    let outside = cluster.network().outside();
    let from = [
        ("node to service", Some(near.namespaces()), services::cluster_address(&service)?),
        ("outside to near node", Some(outside), SocketAddr::new(near.place().v4().into(), port)),
        ("outside to far node", Some(outside), SocketAddr::new(far.place().v4().into(), port)),
    ];
    for (what, place, server) in from {
        wait::until(what, LIMIT, || async {
            let name = traffic::hostname(place, server).await?;
            ensure!(name == "server", "{name} answered");
            Ok(Look::Met(()))
        })
        .await?;
    }
    let url = format!("http://web.{namespace}.svc.cluster.local/hostname");
    let answer = cluster.exec(&namespace, "client", &["wget", "-q", "-O", "-", &url]).await?;
    ensure!(answer.trim() == "server", "{answer} answered the pod");
    let log = cluster.kubectl(&["logs", "-n", &namespace, "server"]).await?;
    ensure!(log.contains("/hostname"), "log of the server: {log}");
    Ok(())
}

/// A run inside this one is killed while it makes a node.
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
    let name = wait::until("cgroup of the inner run", LIMIT, || async {
        for entry in std::fs::read_dir(&directory)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) && !cgroups::find(&name).is_empty() {
                return Ok(Look::Met(name));
            }
        }
        Ok(Look::NotYet("none".to_owned()))
    })
    .await?;
    inner.kill()?;
    inner.wait()?;
    wait::until("end of the inner run", LIMIT, || async {
        let left = leftovers::of_run(&name);
        Ok(if left.is_empty() { Look::Met(()) } else { Look::NotYet(left.join("\n")) })
    })
    .await
}

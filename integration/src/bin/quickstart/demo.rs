//! The demonstration: a Deployment behind a Service, seen from the node, a pod and outside.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use integration::console::print;
use integration::node::Node;
use integration::real_cluster::Cluster;
use integration::real_runtime::AGNHOST_IMAGE;
use integration::wait::{self, Look};
use integration::{in_pod, pods, services, traffic};
use serde_json::{Value, json};

use crate::chains;
use crate::progress::Progress;

/// Namespace of everything the demonstration makes.
pub const NAMESPACE: &str = "demo";
/// Name of the Deployment and the Service, and value of the label `app`.
pub const APP: &str = "web";
/// Name of the pod that plays the client.
const CLIENT: &str = "client";

/// How long the pods may take; a few seconds when all is well.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long until both replicas have answered at an address.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Makes the objects, waits for them, prints them, and fetches a page from three places. Errors
/// when anything is not as it should be.
pub async fn run(cluster: &Arc<Cluster>, node: &Arc<Node>, progress: &mut Progress) -> Result<()> {
    progress.step("scheduler and noded: two replicas, a client and a Service", 5);
    cluster.create_namespace(NAMESPACE).await?;
    cluster.create(&deployment()).await?;
    cluster.create(&client()).await?;
    let mut service = services::service(NAMESPACE, APP, APP, "NodePort");
    // The same again for UDP would only make the printed chains longer.
    if let Some(ports) = service["spec"]["ports"].as_array_mut() {
        ports.retain(|port| port["name"] == "http");
    }
    let service = cluster.create(&service).await?;
    let replicas = ready_replicas(cluster).await?;
    let client = pods::wait_ready(cluster, &pods::path(NAMESPACE, CLIENT), READY_LIMIT).await?;
    progress.end_step();

    show_objects(cluster).await?;
    let cluster_ip = services::cluster_address(&service)?;
    let node_port = services::node_port(&service, "http")?;
    let node_port = SocketAddr::new(node.place().v4().into(), node_port);
    let inside = Some(node.namespaces());
    let outside = Some(cluster.network().outside());

    print("Who answers:\n\n");
    answers("ClusterIP from the node", cluster_ip, &replicas, || {
        traffic::hostname(inside, cluster_ip)
    })
    .await?;
    answers("ClusterIP from another pod", cluster_ip, &replicas, || {
        in_pod::dial(&client, "http", cluster_ip)
    })
    .await?;
    answers("NodePort from outside the node", node_port, &replicas, || {
        traffic::hostname(outside, node_port)
    })
    .await?;
    show_chains(node)
}

fn deployment() -> Value {
    let labels = json!({"app": APP});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP, "namespace": NAMESPACE},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": server()},
        },
    })
}

fn client() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": CLIENT, "namespace": NAMESPACE},
        "spec": server(),
    })
}

fn server() -> Value {
    let port = services::SERVER_PORT;
    json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "server",
            "image": AGNHOST_IMAGE,
            "args": ["netexec", format!("--http-port={port}"), format!("--udp-port={port}")],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        }],
    })
}

/// Waits until the Deployment is available and returns the names of its pods.
async fn ready_replicas(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3D{APP}");
    wait::until("two Ready replicas", READY_LIMIT, || async {
        let pods = cluster.client().list(&path).await?;
        let ready: BTreeSet<String> = pods
            .iter()
            .filter(|pod| pods::is_ready(pod))
            .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
            .collect();
        if ready.len() == 2 {
            return Ok(Look::Met(ready));
        }
        let states: Vec<String> = pods.iter().map(|pod| pod["status"].to_string()).collect();
        Ok(Look::NotYet(states.join("\n")))
    })
    .await
}

/// Asks at an address until every replica has answered, and prints who did.
async fn answers<F>(
    place: &str,
    address: SocketAddr,
    replicas: &BTreeSet<String>,
    mut ask: impl FnMut() -> F,
) -> Result<()>
where
    F: Future<Output = Result<String>>,
{
    let mut seen = BTreeSet::new();
    let mut requests = 0_u32;
    let deadline = Instant::now() + ANSWER_LIMIT;
    while &seen != replicas {
        requests += 1;
        match ask().await {
            Ok(name) if replicas.contains(&name) => _ = seen.insert(name),
            Ok(name) => bail!("{place}: {name} answered, which is no replica"),
            // Rules follow pods by a moment.
            Err(_) if Instant::now() < deadline => {}
            Err(error) => return Err(error.context(format!("{place}, {address}"))),
        }
        if Instant::now() > deadline {
            bail!("{place}, {address}: only {seen:?} answered in {requests} requests");
        }
    }
    let names: Vec<&str> = seen.iter().map(String::as_str).collect();
    let names = names.join(" and ");
    print(&format!("  {place:<31} http://{address}/hostname\n    {names}\n"));
    Ok(())
}

async fn show_objects(cluster: &Cluster) -> Result<()> {
    for (kind, extra) in
        [("nodes", &[][..]), ("pods", &["-n", NAMESPACE]), ("services", &["-n", NAMESPACE])]
    {
        let args = [&["get", kind, "-o", "wide"], extra].concat();
        let table = cluster.kubectl(&args).await?;
        print(&format!("\n$ kubectl {}\n{table}", args.join(" ")));
    }
    print("\n");
    Ok(())
}

fn show_chains(node: &Node) -> Result<()> {
    let saved = node.namespaces().output(Command::new("iptables-save").args(["-t", "nat"]))?;
    let lines = chains::of_service(&saved, &format!("{NAMESPACE}/{APP}"));
    let found = lines.iter().any(|line| line.contains("KUBE-SEP-"));
    print(&format!("\n$ iptables-save -t nat      (what serves {NAMESPACE}/{APP})\n"));
    print(&(lines.join("\n") + "\n\n"));
    found.then_some(()).context("no KUBE-SEP chain serves the Service")
}

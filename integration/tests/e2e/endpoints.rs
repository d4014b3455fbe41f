//! Endpoints that come and go under traffic.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::namespaces::Namespaces;
use integration::node::Node;
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services, traffic};
use serde_json::json;

use crate::LIMIT;
use crate::services::{endpoints, rules, selectorless, udp_hostname};

pub fn tests() -> Vec<Test> {
    integration::tests![
        no_request_fails_while_endpoints_come_and_go,
        udp_client_moves_on_when_its_endpoint_goes,
    ]
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three servers on the shared node behind a Service whose endpoints the test sets.
struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
    addresses: Vec<String>,
    service: SocketAddr,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        let cluster = context.cluster().await?;
        let node = context.shared_node().await?;
        let namespace = context.namespace().await?;
        let run = NAMES.map(|name| {
            let pod = services::server_pod(&namespace, name, node.name(), name);
            let cluster = Arc::clone(&cluster);
            async move {
                let pod = pods::run(&cluster, &pod, LIMIT).await?;
                in_pod::listening(&pod).await
            }
        });
        let running = futures::future::try_join_all(run).await?;
        let addresses: Vec<String> =
            running.iter().map(|address: &SocketAddr| address.ip().to_string()).collect();
        let ports = json!([
            {"name": "tcp", "port": 80, "protocol": "TCP"},
            {"name": "udp", "port": 80, "protocol": "UDP"},
        ]);
        let first: [&str; 1] = [&addresses[0]];
        let service =
            selectorless(&cluster, (&namespace, "web"), ports, &first, services::SERVER_PORT)
                .await?;
        let service = services::cluster_address(&service)?;
        let fixture = Self { cluster, node, namespace, addresses, service };
        fixture.wait_rules(&[0]).await?;
        Ok(fixture)
    }

    /// Makes the servers with these indices the endpoints and waits until the rules say so.
    async fn set(&self, servers: &[usize]) -> Result<()> {
        let addresses: Vec<&str> =
            servers.iter().map(|index| self.addresses[*index].as_str()).collect();
        let path =
            format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices/web", self.namespace);
        let patch = json!({"endpoints": endpoints(&addresses)});
        self.cluster.client().merge_patch(&path, &patch).await?;
        self.wait_rules(servers).await
    }

    async fn wait_rules(&self, servers: &[usize]) -> Result<()> {
        let wanted: BTreeSet<usize> = servers.iter().copied().collect();
        wait::until(&format!("rules for {servers:?}"), LIMIT, || async {
            let text = rules(&self.node).await?;
            let found: BTreeSet<usize> = (0..NAMES.len())
                .filter(|index| {
                    let target = format!(
                        "--to-destination {}:{}",
                        self.addresses[*index],
                        services::SERVER_PORT
                    );
                    text.lines().any(|line| line.ends_with(&target))
                })
                .collect();
            Ok(if found == wanted { Look::Met(()) } else { Look::NotYet(format!("{found:?}")) })
        })
        .await
    }
}

/// Who answered a request, begun at this moment, or why none did.
type Outcome = (Instant, Result<String, String>);

/// Asks the Service again and again, over new connections, until told to stop.
struct Client {
    stop: Arc<AtomicBool>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Client {
    fn start(namespaces: &Arc<Namespaces>, service: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let tasks = (0..2)
            .map(|_| {
                let (stop, outcomes) = (Arc::clone(&stop), Arc::clone(&outcomes));
                let namespaces = Arc::clone(namespaces);
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        let outcome = traffic::hostname(Some(&namespaces), service).await;
                        let outcome = outcome.map_err(|error| format!("{error:#}"));
                        let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                        outcomes.push((begun, outcome));
                    }
                })
            })
            .collect();
        Self { stop, outcomes, tasks }
    }

    fn count_since(&self, moment: Instant) -> usize {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.iter().filter(|(begun, _)| *begun >= moment).count()
    }

    async fn finish(self) -> Result<Vec<Outcome>> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

async fn no_request_fails_while_endpoints_come_and_go(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let client = Client::start(fixture.node.namespaces(), fixture.service);
    // From one set of endpoints to the next: when the rules were there, when they went.
    let mut periods: Vec<(Instant, Instant, Vec<usize>)> = Vec::new();
    let mut current = vec![0];
    let mut since = Instant::now();
    for next in [vec![1], vec![0, 1, 2], vec![2], vec![0, 2], vec![0, 1], vec![1, 2], vec![0]] {
        wait::until("requests under these rules", LIMIT, || async {
            let count = client.count_since(since);
            Ok(if count >= 20 { Look::Met(()) } else { Look::NotYet(count.to_string()) })
        })
        .await?;
        let until = Instant::now();
        periods.push((since, until, std::mem::replace(&mut current, next)));
        fixture.set(&current).await?;
        since = Instant::now();
    }
    // The servers that are left out really go, and nobody asks for them any more.
    for name in &NAMES[1..] {
        let path = pods::path(&fixture.namespace, name);
        fixture.cluster.client().delete(&path).await?;
        pods::wait_gone(&fixture.cluster, &path, LIMIT).await?;
    }
    periods.push((since, Instant::now(), current));
    let outcomes = client.finish().await?;
    let failed: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).collect();
    ensure!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), outcomes.len());
    for (from, to, servers) in periods {
        let names: BTreeSet<&str> = servers.iter().map(|index| NAMES[*index]).collect();
        let answered: BTreeSet<&str> = outcomes
            .iter()
            .filter(|(begun, _)| *begun >= from && *begun < to)
            .filter_map(|(_, outcome)| outcome.as_deref().ok())
            .collect();
        ensure!(answered == names, "endpoints {names:?}, but {answered:?} answered");
    }
    Ok(())
}

async fn udp_client_moves_on_when_its_endpoint_goes(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    // One socket all the time, so that the kernel remembers the endpoint.
    let socket = {
        let namespaces = fixture.node.namespaces();
        namespaces.run(|| {
            let socket = UdpSocket::bind((IpAddr::from([0, 0, 0, 0]), 0))?;
            socket.connect(fixture.service)?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            Ok(Arc::new(socket))
        })?
    };
    for (servers, name) in [([0], "a"), ([1], "b"), ([2], "c")] {
        fixture.set(&servers).await?;
        wait::until(&format!("answer of {name} on the old socket"), LIMIT, || async {
            let socket = Arc::clone(&socket);
            let answer = tokio::task::spawn_blocking(move || ask(&socket)).await??;
            Ok(if answer == name { Look::Met(()) } else { Look::NotYet(answer) })
        })
        .await?;
    }
    let fresh = udp_hostname(Some(fixture.node.namespaces()), fixture.service).await?;
    ensure!(fresh == "c", "{fresh} answered");
    Ok(())
}

fn ask(socket: &UdpSocket) -> Result<String> {
    socket.send(b"hostname")?;
    let mut answer = [0; 256];
    let length = socket.recv(&mut answer).context("no answer")?;
    Ok(String::from_utf8_lossy(&answer[..length]).trim().to_owned())
}

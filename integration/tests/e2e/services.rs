//! Services: chain names, packets from everywhere, names.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::node::{Node, NodeOptions, PodFamilies};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::traffic::{self, Place};
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

/// How long one exchange of packets may take.
const EXCHANGE: Duration = Duration::from_secs(3);

pub fn tests() -> Vec<Test> {
    integration::tests![
        chains_have_the_names_that_users_know,
        replicas_answer_from_everywhere_over_tcp_and_udp,
        service_without_endpoints_refuses_at_once,
        both_families_reach_pods_and_services,
        host_port_leads_to_its_pod,
        names_resolve_inside_pods,
    ]
}

/// The rules of a node's IPv4 tables as `iptables-save` prints them.
pub async fn rules(node: &Node) -> Result<String> {
    let namespaces = Arc::clone(node.namespaces());
    tokio::task::spawn_blocking(move || namespaces.output(&mut Command::new("iptables-save")))
        .await?
}

/// A Service without a selector and its one EndpointSlice.
pub async fn selectorless(
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    ports: Value,
    addresses: &[&str],
    target: u16,
) -> Result<Value> {
    let service = cluster
        .create(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"ports": ports},
        }))
        .await?;
    let ports: Vec<Value> = ports
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| json!({"name": port["name"], "protocol": port["protocol"], "port": target}))
        .collect();
    cluster
        .create(&json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": endpoints(addresses),
            "ports": ports,
        }))
        .await?;
    Ok(service)
}

/// The `endpoints` of an EndpointSlice with these ready addresses.
pub fn endpoints(addresses: &[&str]) -> Vec<Value> {
    let endpoint = |address| json!({"addresses": [address], "conditions": {"ready": true}});
    addresses.iter().map(endpoint).collect()
}

async fn chains_have_the_names_that_users_know(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster_with_dns().await?;
    let node = context.shared_node().await?;
    let ports = json!([{"name": "", "port": 8080, "protocol": "TCP"}]);
    let watcher = ("default", "crd-array-watcher");
    selectorless(&cluster, watcher, ports, &["10.244.0.35"], 8080).await?;
    let expected = [
        ("KUBE-SVC-HW2XM7FRY33HEVYM", "default/crd-array-watcher cluster IP"),
        ("KUBE-SEP-PLQTWCYKKRRVAV4U", "default/crd-array-watcher"),
        ("KUBE-SVC-TCOU7JCQXEZGVUNU", "kube-system/kube-dns:dns cluster IP"),
        ("KUBE-SVC-JD5MR3NA4I4DYORP", "kube-system/kube-dns:metrics cluster IP"),
    ];
    let text = wait::until("the four chains", LIMIT, || async {
        let text = rules(&node).await?;
        let missing: Vec<_> =
            expected.iter().filter(|(chain, _)| !text.contains(&format!(":{chain} "))).collect();
        Ok(match missing.is_empty() {
            true => Look::Met(text),
            false => Look::NotYet(format!("missing {missing:?}; rules:\n{text}")),
        })
    })
    .await?;
    for (chain, comment) in expected {
        let jump = text
            .lines()
            .find(|line| line.starts_with("-A") && line.ends_with(&format!("-j {chain}")))
            .with_context(|| format!("no jump to {chain}:\n{text}"))?;
        ensure!(jump.contains(comment), "{jump}");
    }
    let destination = "-j DNAT --to-destination 10.244.0.35:8080";
    let sep = text.lines().find(|line| line.ends_with(destination)).context("no DNAT rule")?;
    ensure!(sep.starts_with("-A KUBE-SEP-PLQTWCYKKRRVAV4U "), "{sep}");
    for base in ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"] {
        ensure!(text.contains(&format!(":{base} ")), "no {base}:\n{text}");
    }
    for kind in ["services", "endpointslices"] {
        let group = if kind == "services" { "/api/v1" } else { "/apis/discovery.k8s.io/v1" };
        let path = format!("{group}/namespaces/default/{kind}/crd-array-watcher");
        cluster.client().delete(&path).await?;
    }
    wait::until("end of the chains", LIMIT, || async {
        let text = rules(&node).await?;
        Ok(match text.contains("KUBE-SVC-HW2XM7FRY33HEVYM") || text.contains("10.244.0.35") {
            true => Look::NotYet(text),
            false => Look::Met(()),
        })
    })
    .await
}

/// A Deployment whose two replicas land on different nodes of these.
fn deployment(namespace: &str, nodes: &[&str]) -> Value {
    let mut pod = services::server_pod(namespace, "", "", "web");
    let container = pod["spec"]["containers"][0].take();
    let host = "kubernetes.io/hostname";
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                    "affinity": {
                        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [
                                {"key": host, "operator": "In", "values": nodes},
                            ]}],
                        }},
                        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                            "topologyKey": host,
                            "labelSelector": {"matchLabels": {"app": "web"}},
                        }]},
                    },
                },
            },
        },
    })
}

async fn replicas_answer_from_everywhere_over_tcp_and_udp(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    // One back end here, the other there: both lead to the same places.
    let nftables =
        NodeOptions { proxy_config: json!({"mode": "nftables"}), ..NodeOptions::default() };
    let (near, far) =
        tokio::try_join!(context.node(NodeOptions::default()), context.node(nftables))?;
    let namespace = context.namespace().await?;
    let service = services::service(&namespace, "web", "web", "NodePort");
    let service = cluster.create(&service).await?;
    cluster.create(&deployment(&namespace, &[near.name(), far.name()])).await?;
    let client = services::server_pod(&namespace, "client", near.name(), "client");
    let client = pods::run(&cluster, &client, LIMIT).await?;
    let replicas = replicas(&cluster, &namespace).await?;
    let nodes: BTreeSet<&str> =
        replicas.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    ensure!(nodes == BTreeSet::from([near.name(), far.name()]), "placed on {nodes:?}");

    let cluster_address = services::cluster_address(&service)?;
    let outside = Some(cluster.network().outside());
    let node_port = |node: &Node, port| {
        let number = services::node_port(&service, port)?;
        anyhow::Ok(SocketAddr::new(node.place().v4().into(), number))
    };
    let both: BTreeSet<String> = replicas
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect();
    let from_places: [(&str, Place, SocketAddr, SocketAddr); 5] = [
        ("near node, cluster IP", Some(near.namespaces()), cluster_address, cluster_address),
        ("far node, cluster IP", Some(far.namespaces()), cluster_address, cluster_address),
        (
            "near node, own node port",
            Some(near.namespaces()),
            node_port(&near, "http")?,
            node_port(&near, "udp")?,
        ),
        ("outside, near", outside, node_port(&near, "http")?, node_port(&near, "udp")?),
        ("outside, far", outside, node_port(&far, "http")?, node_port(&far, "udp")?),
    ];
    for (what, place, tcp, udp) in from_places {
        expect_all(&format!("TCP, {what}"), &both, || traffic::hostname(place, tcp)).await?;
        expect_all(&format!("UDP, {what}"), &both, || udp_hostname(place, udp)).await?;
    }
    // From pods; a replica reaches itself through the Service, too.
    let replica = &replicas[0];
    for (what, pod) in [("pod", &client), ("replica", replica)] {
        for (protocol, port) in [("http", "http"), ("udp", "udp")] {
            for address in [cluster_address, node_port(&far, port)?] {
                let what = format!("{protocol} to {address} from a {what}");
                expect_all(&what, &both, || in_pod::dial(pod, protocol, address)).await?;
            }
        }
    }
    Ok(())
}

async fn replicas(cluster: &Cluster, namespace: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app%3Dweb");
    let replicas = wait::until("two Ready replicas", LIMIT, || async {
        let list = cluster.client().list(&path).await?;
        let ready = list.iter().filter(|pod| pods::is_ready(pod)).count();
        Ok(if list.len() == 2 && ready == 2 {
            Look::Met(list)
        } else {
            let state = list.iter().map(|pod| pod["status"].to_string());
            Look::NotYet(state.collect::<Vec<_>>().join("\n"))
        })
    })
    .await?;
    for pod in &replicas {
        in_pod::listening(pod).await?;
    }
    Ok(replicas)
}

pub async fn udp_hostname(place: Place<'_>, server: SocketAddr) -> Result<String> {
    let answer = traffic::udp_exchange(place, server, b"hostname".to_vec(), EXCHANGE).await?;
    Ok(String::from_utf8(answer)?.trim().to_owned())
}

/// Asks until each of `names` has answered and nobody else.
async fn expect_all<F>(what: &str, names: &BTreeSet<String>, ask: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<String>>,
{
    let seen = Mutex::new(BTreeSet::new());
    // Rules may come late, and those of one endpoint after those of the other.
    wait::until(what, LIMIT, || async {
        let name = ask().await?;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name);
        Ok(if seen.is_superset(names) { Look::Met(()) } else { Look::NotYet(format!("{seen:?}")) })
    })
    .await?;
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(seen == *names, "{what}: {seen:?} answered");
    Ok(())
}

async fn service_without_endpoints_refuses_at_once(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let service = services::service(&namespace, "nobody", "nobody", "NodePort");
    let service = cluster.create(&service).await?;
    let port = services::node_port(&service, "http")?;
    let node_port = SocketAddr::new(node.place().v4().into(), port);
    for (place, address) in [
        (Some(node.namespaces()), services::cluster_address(&service)?),
        (Some(cluster.network().outside()), node_port),
    ] {
        // A packet to a cluster address that no rule knows leaves by the default route and is
        // lost, so being refused shows the rule.
        wait::until(&format!("refusal at {address}"), LIMIT, || async {
            match traffic::hostname(place, address).await {
                Ok(name) => bail!("{name} answered"),
                Err(error) => {
                    let refused = error.chain().any(|cause| {
                        cause.downcast_ref::<std::io::Error>().is_some_and(|cause| {
                            cause.kind() == std::io::ErrorKind::ConnectionRefused
                        })
                    });
                    Ok(if refused { Look::Met(()) } else { Look::NotYet(format!("{error:#}")) })
                }
            }
        })
        .await?;
    }
    Ok(())
}

async fn names_resolve_inside_pods(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster_with_dns().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = services::server_pod(&namespace, "server", node.name(), "server");
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let service = services::service(&namespace, "web", "server", "ClusterIP");
    cluster.create(&service).await?;
    let full = format!("web.{namespace}.svc.cluster.local");
    for name in ["web", &format!("web.{namespace}"), &full] {
        let answer = wait::until(&format!("answer of {name}"), LIMIT, || async {
            in_pod::dial_name(&pod, "http", (name, 80)).await.map(Look::Met)
        })
        .await?;
        ensure!(answer == "server", "{name}: {answer}");
    }
    let answer =
        in_pod::shell(&pod, "nslookup -type=a kubernetes.default.svc.cluster.local").await?;
    ensure!(answer.contains("10.96.0.1\n"), "{answer}");
    Ok(())
}

async fn both_families_reach_pods_and_services(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let options = NodeOptions { pods: PodFamilies::Dual, ..NodeOptions::default() };
    let node = context.node(options).await?;
    let namespace = context.namespace().await?;
    let pod = services::server_pod(&namespace, "server", node.name(), "server");
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let mut service = services::service(&namespace, "web", "server", "NodePort");
    service["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
    let service = cluster.create(&service).await?;
    let port = services::node_port(&service, "http")?;
    let list = |value: &Value| -> Vec<Value> { value.as_array().cloned().unwrap_or_default() };
    let mut targets = Vec::new();
    for address in list(&pod["status"]["podIPs"]) {
        let address = address["ip"].as_str().context("no address")?;
        targets.push((None, SocketAddr::new(address.parse()?, services::SERVER_PORT)));
    }
    for address in list(&service["spec"]["clusterIPs"]) {
        let address = address.as_str().context("no address")?;
        targets.push((Some(node.namespaces()), SocketAddr::new(address.parse()?, 80)));
    }
    let outside = Some(cluster.network().outside());
    targets.push((outside, SocketAddr::new(node.place().v4().into(), port)));
    targets.push((outside, SocketAddr::new(node.place().v6().into(), port)));
    ensure!(targets.len() == 6, "{}\n{}", pod["status"], service["spec"]);
    for (place, target) in targets {
        let name = wait::until(&format!("answer of {target}"), LIMIT, || async {
            traffic::hostname(place, target).await.map(Look::Met)
        })
        .await?;
        ensure!(name == "server", "{name} answered at {target}");
    }
    Ok(())
}

async fn host_port_leads_to_its_pod(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = services::server_pod(&namespace, "server", node.name(), "server");
    pod["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": services::SERVER_PORT, "hostPort": 18_080}]);
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    in_pod::listening(&pod).await?;
    let address = SocketAddr::new(node.place().v4().into(), 18_080);
    let name = traffic::hostname(Some(cluster.network().outside()), address).await?;
    ensure!(name == "server", "{name} answered");
    Ok(())
}

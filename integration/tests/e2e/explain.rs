//! Seeing what the proxy does: `noded rules` and `noded explain` on a real node.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::TestContext;
use integration::node::{Node, NodeOptions, PodFamilies};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::services::rules;

/// Endpoints that nobody needs to reach.
const ENDPOINTS: [&str; 2] = ["10.244.200.1", "10.244.200.2"];
const ENDPOINT_V6: &str = "fd00:244:0:c8::1";

pub fn tests() -> Vec<Test> {
    integration::tests![
        packets_and_services_are_explained_and_differences_told,
        nftables_mode_is_explained_and_compared_too,
        failures_of_looking_are_one_line_with_the_fix,
    ]
}

/// How a command ended and what it printed.
#[derive(Debug)]
struct Answer {
    status: Option<i32>,
    text: String,
    complaint: String,
}

/// Runs noded on a node with the settings of its agent.
async fn noded(node: &Node, command: &str) -> Result<Answer> {
    let binary = node.cluster().run().agent().context("there is no noded binary")?.to_owned();
    let files = node.directory().join("agent");
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let mut program = Command::new(binary);
    program.args(words);
    if !command.ends_with("cleanup") {
        program
            .arg("--config")
            .arg(files.join("kubelet.yaml"))
            .arg("--proxy-config")
            .arg(files.join("kube-proxy.yaml"))
            .args(["--hostname-override", node.name()]);
        if !command.contains("--proxy-kubeconfig") {
            program.arg("--proxy-kubeconfig").arg(files.join("kube-proxy.conf"));
        }
    }
    let namespaces = Arc::clone(node.namespaces());
    let output = tokio::task::spawn_blocking(move || {
        namespaces.run(|| program.output().context("cannot start noded"))
    })
    .await??;
    Ok(Answer {
        status: output.status.code(),
        text: String::from_utf8(output.stdout)?,
        complaint: String::from_utf8(output.stderr)?,
    })
}

/// The text of a command that must end with this status and say these words.
async fn said(node: &Node, command: &str, status: i32, words: &[&str]) -> Result<String> {
    let answer = noded(node, command).await?;
    let all = format!("{}{}", answer.text, answer.complaint);
    ensure!(answer.status == Some(status), "{command}: {answer:?}");
    for word in words {
        ensure!(all.contains(word), "{command}: no {word:?} in\n{all}");
    }
    Ok(all)
}

/// A dual-stack NodePort Service with endpoints, and one without any.
async fn make_services(cluster: &Cluster, namespace: &str) -> Result<(Value, Value)> {
    let ports = json!([
        {"name": "http", "port": 80, "protocol": "TCP"},
        {"name": "udp", "port": 80, "protocol": "UDP"},
    ]);
    let service = |name: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "ports": ports},
        })
    };
    let web = cluster.create(&service("web")).await?;
    let empty = cluster.create(&service("empty")).await?;
    for (family, addresses) in [("IPv4", &ENDPOINTS[..]), ("IPv6", &[ENDPOINT_V6][..])] {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("web-{}", family.to_lowercase()),
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": family,
            "endpoints": crate::services::endpoints(addresses),
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 8080},
                {"name": "udp", "protocol": "UDP", "port": 8080},
            ],
        });
        cluster.create(&slice).await?;
    }
    Ok((web, empty))
}

/// Sends one UDP packet from a node; where from.
async fn send_once(node: &Node, destination: &str) -> Result<SocketAddr> {
    let (namespaces, destination) = (Arc::clone(node.namespaces()), destination.to_owned());
    tokio::task::spawn_blocking(move || {
        namespaces.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(&destination)?;
            socket.send(b"hello")?;
            Ok(socket.local_addr()?)
        })
    })
    .await?
}

fn cluster_ip(service: &Value, position: usize) -> Result<&str> {
    service["spec"]["clusterIPs"][position].as_str().context("no cluster address")
}

async fn packets_and_services_are_explained_and_differences_told(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let options = NodeOptions { pods: PodFamilies::Dual, ..NodeOptions::default() };
    let node = context.node(options).await?;
    let namespace = context.namespace().await?;
    let (web, empty) = make_services(&cluster, &namespace).await?;
    let (v4, v6) = (cluster_ip(&web, 0)?, cluster_ip(&web, 1)?);
    let jump = format!("-d {v4}/32 -p tcp");
    // Other tests change services all the time; a moment without difference is enough.
    wait::until("rules as planned", LIMIT, || async {
        let answer = noded(&node, "rules diff").await?;
        let there = rules(&node).await?.contains(&jump);
        Ok(match (answer.status, there) {
            (Some(0), true) => Look::Met(()),
            _ => Look::NotYet(format!("{answer:?}")),
        })
    })
    .await?;

    let shown = said(&node, &format!("rules show {namespace}/web"), 0, &[&jump]).await?;
    ensure!(!shown.contains("kubernetes:https") && shown.contains("# IPv6"), "{shown}");
    // iptables-save puts two blanks before the name of a counter.
    let live = rules(&node).await?.replace("  ", " ");
    for line in shown.lines().take_while(|line| *line != "# IPv6") {
        let known = line.starts_with(['#', '*', ':']) || line == "COMMIT";
        ensure!(known || live.contains(line), "{line} is not live:\n{live}");
    }

    let name = format!("{namespace}/web:http");
    let pod = "10.244.99.9";
    let to = |place: &str| format!("explain packet {pod} {place}/tcp");
    let planned = "kernel: as planned";
    let words = [&*name, "50 %", ENDPOINTS[0], ENDPOINTS[1], "source kept", planned];
    said(&node, &to(&format!("{v4}:80")), 0, &words).await?;
    let number = integration::services::node_port(&web, "http")?;
    let command = format!("explain packet 203.0.113.9 {}:{number}/tcp", node.place().v4());
    said(&node, &command, 0, &[&name, "node port", ENDPOINTS[1], "masqueraded"]).await?;
    let nobody = cluster_ip(&empty, 0)?;
    let words = ["rejected by", &format!("{namespace}/empty:http has no endpoints"), planned];
    said(&node, &to(&format!("{nobody}:80")), 0, &words).await?;
    said(&node, &to("10.244.200.9:80"), 0, &["not changed by the proxy"]).await?;
    let command = format!("explain packet 2001:db8::9 [{v6}]:80/tcp");
    said(&node, &command, 0, &[&name, ENDPOINT_V6, "masqueraded"]).await?;
    let command = format!("explain service web -n {namespace}");
    said(&node, &command, 0, &[ENDPOINTS[0], "50 %", "kernel IPv4: as planned"]).await?;
    let json = said(&node, &format!("{command} -o json"), 0, &[]).await?;
    let report: Value = serde_json::from_str(&json)?;
    ensure!(report["ports"][0]["endpoints"][0]["clusterShare"] == 0.5, "{report}");

    let client = send_once(&node, &format!("{v4}:80")).await?;
    let words =
        ["conntrack: a connection", &format!("{client} > {v4}:80"), "answered by 10.244.200."];
    said(&node, &format!("explain packet {} {v4}:80/udp", client.ip()), 0, &words).await?;

    // Nobody mends what is looked at from here on.
    node.agent()?.stop().await?;
    let line = live.lines().find(|line| line.contains(&jump)).context("no rule")?.to_owned();
    let arguments: Vec<String> = line
        .replacen("-A", "-D", 1)
        .split('"')
        .enumerate()
        .flat_map(|(position, part)| match position % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect();
    let namespaces = Arc::clone(node.namespaces());
    tokio::task::spawn_blocking(move || {
        namespaces.output(Command::new("iptables").args(["-t", "nat"]).args(arguments))
    })
    .await??;
    let missing = format!("+ {line}");
    let shown = said(&node, "rules diff", 1, &["nat KUBE-SERVICES differs", &missing]).await?;
    ensure!(shown.matches("\n+ ").count() == 1 || shown.contains("other"), "{shown}");
    said(&node, &command, 0, &["kernel IPv4: differs", &missing]).await?;
    let words = ["kernel: not as planned", "outcome: not changed by the proxy", &missing];
    said(&node, &to(&format!("{v4}:80")), 0, &words).await?;

    said(&node, "rules cleanup", 0, &["IPv4 iptables: removed", "IPv6 iptables: removed"]).await?;
    let left = rules(&node).await?;
    ensure!(!left.contains("KUBE-SVC-") && !left.contains("KUBE-SERVICES"), "{left}");
    said(&node, "rules diff", 1, &["nat KUBE-SERVICES is missing", "lacks a jump"]).await?;
    said(&node, "rules cleanup", 0, &["nothing to remove"]).await?;
    Ok(())
}

async fn nftables_mode_is_explained_and_compared_too(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let proxy_config = json!({"mode": "nftables"});
    let node = context.node(NodeOptions { proxy_config, ..NodeOptions::default() }).await?;
    let namespace = context.namespace().await?;
    let (web, empty) = make_services(&cluster, &namespace).await?;
    let v4 = cluster_ip(&web, 0)?;
    let name = format!("{namespace}/web:http");
    let to = |address: &str| format!("explain packet 10.244.99.9 {address}:80/tcp");
    wait::until("table as planned", LIMIT, || async {
        let answer = noded(&node, "rules diff").await?;
        let there = noded(&node, &to(v4)).await?;
        Ok(match (answer.status, there.text.contains(&name)) {
            (Some(0), true) => Look::Met(()),
            _ => Look::NotYet(format!("{answer:?} {there:?}")),
        })
    })
    .await?;
    let words = [&*name, "50 %", ENDPOINTS[0], ENDPOINTS[1], "kernel: as planned"];
    said(&node, &to(v4), 0, &words).await?;
    said(&node, &to(cluster_ip(&empty, 0)?), 0, &["rejected by", "kernel: as planned"]).await?;
    let element = format!("{v4} . tcp . 80");
    said(&node, &format!("rules show {namespace}/web"), 0, &["service-ips", &element]).await?;

    node.agent()?.stop().await?;
    let namespaces = Arc::clone(node.namespaces());
    let gone = format!("{{ {element} }}");
    tokio::task::spawn_blocking(move || {
        let command = ["delete", "element", "ip", "kube-proxy", "service-ips", &gone];
        namespaces.output(Command::new("nft").args(command))
    })
    .await??;
    let missing = format!("+ {element}");
    said(&node, "rules diff", 1, &["ip kube-proxy service-ips differs", &missing]).await?;
    let command = format!("explain service {namespace}/web");
    said(&node, &command, 0, &["kernel IPv4: differs", &missing]).await?;
    said(&node, &to(v4), 0, &["kernel: not as planned", &missing]).await?;
    said(&node, "rules cleanup", 0, &["IPv4 nftables: removed"]).await?;
    said(&node, "rules diff", 1, &["ip kube-proxy table is missing"]).await?;
    Ok(())
}

async fn failures_of_looking_are_one_line_with_the_fix(context: Arc<TestContext>) -> Result<()> {
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let file = node.directory().join("nowhere.conf");
    let usual = std::fs::read_to_string(node.directory().join("agent/kube-proxy.conf"))?;
    let (before, rest) = usual.split_once("https://").context("no server")?;
    let after = rest.trim_start_matches(|letter: char| !matches!(letter, '"' | '\n' | '\''));
    // The discard port of this very machine: nobody listens there.
    std::fs::write(&file, format!("{before}https://127.0.0.1:9{after}"))?;
    let unreachable = format!("explain service web --proxy-kubeconfig {}", file.display());
    for (command, status, words) in [
        (&*format!("explain service {namespace}/web"), 8, "there is no Service"),
        ("explain packet here 10.0.0.1:80/tcp", 2, "is not an IP address"),
        ("explain packet 10.0.0.1 10.0.0.1:80/icmp", 2, "write tcp, udp or sctp"),
        (&*unreachable, 7, "check the server of the kubeconfig"),
        ("rules show --proxy-kubeconfig /no/such/file", 4, "/no/such/file"),
    ] {
        let said = said(&node, command, status, &[words]).await?;
        ensure!(said.lines().count() == 1, "{command}: {said}");
    }
    Ok(())
}

//! `kubectl port-forward` with old and new clients, through the API server.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use integration::kubectl::Kubectl;
use integration::node::NodeOptions;
use integration::real_runtime::AGNHOST_IMAGE;
use integration::runner::Test;
use integration::{TestContext, pods};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};

use crate::LIMIT;

/// Connections at once through one forward.
const CONNECTIONS: usize = 50;
const PORT: u16 = 8080;

pub fn tests() -> Vec<Test> {
    integration::tests![
        fifty_connections_at_once_reach_a_pod_and_a_pod_of_the_host,
        connection_to_a_port_without_a_listener_is_told
    ]
}

fn server(namespace: &str, name: &str, node: &str, host_network: bool) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": node,
            "hostNetwork": host_network,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "server",
                "image": AGNHOST_IMAGE,
                "args": ["netexec", format!("--http-port={PORT}"), "--udp-port=-1"],
                "readinessProbe": {"httpGet": {"path": "/hostname", "port": PORT}, "periodSeconds": 1},
            }],
        },
    })
}

/// A forward that runs, and the address that it listens on. It ends without a reader of its output.
struct Forward {
    child: Child,
    address: SocketAddr,
    _output: Lines<BufReader<ChildStdout>>,
}

async fn forward(kubectl: &Kubectl, namespace: &str, pod: &str, port: u16) -> Result<Forward> {
    let port = format!(":{port}");
    let args = ["port-forward", "-n", namespace, pod, &port, "--address", "127.0.0.1"];
    let mut child = kubectl.start(&args)?;
    let output = child.stdout.take().context("no pipe")?;
    let mut output = BufReader::new(output).lines();
    let line = tokio::time::timeout(LIMIT, output.next_line()).await??;
    let Some(line) = line else {
        let mut errors = String::new();
        child.stderr.take().context("no pipe")?.read_to_string(&mut errors).await?;
        bail!("{}: {errors}", kubectl.name());
    };
    let address = line.split(' ').nth(2).with_context(|| format!("no address in {line:?}"))?;
    let address = address.parse().with_context(|| format!("no address in {line:?}"))?;
    Ok(Forward { child, address, _output: output })
}

async fn ask(mut stream: TcpStream, request: &str) -> Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn fifty_connections_at_once_reach_a_pod_and_a_pod_of_the_host(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    // Of its own, as a port of the host is taken.
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    for (name, host_network) in [("inside", false), ("host", true)] {
        let pod = server(&namespace, name, node.name(), host_network);
        pods::run(&cluster, &pod, LIMIT).await?;
        for kubectl in Kubectl::all(&cluster) {
            let running = forward(&kubectl, &namespace, name, PORT).await?;
            let connecting = (0..CONNECTIONS).map(|_| TcpStream::connect(running.address));
            let streams = try_join_all(connecting).await?;
            let asked = streams.into_iter().enumerate().map(|(number, stream)| async move {
                let request =
                    format!("GET /echo?msg=answer-{number}- HTTP/1.0\r\nHost: pod\r\n\r\n");
                let answer = ask(stream, &request).await?;
                let wanted = format!("answer-{number}-");
                ensure!(answer.ends_with(&wanted), "{number}: {answer:?}");
                Ok(())
            });
            let all = tokio::time::timeout(LIMIT, try_join_all(asked)).await;
            all.with_context(|| kubectl.name())?.with_context(|| kubectl.name())?;
        }
    }
    Ok(())
}

async fn connection_to_a_port_without_a_listener_is_told(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    pods::run(&cluster, &pods::pause_pod(&namespace, "a", node.name()), LIMIT).await?;
    for kubectl in Kubectl::all(&cluster) {
        let mut running = forward(&kubectl, &namespace, "a", 9).await?;
        let mut stream = TcpStream::connect(running.address).await?;
        let _ = stream.write_all(b"anybody there?").await;
        let errors = running.child.stderr.take().context("no pipe")?;
        let mut lines = BufReader::new(errors).lines();
        let told = async {
            while let Some(line) = lines.next_line().await? {
                if line.contains("an error occurred forwarding") && line.contains("refused") {
                    return Ok(());
                }
            }
            bail!("{} ended without a word of it", kubectl.name())
        };
        tokio::time::timeout(LIMIT, told).await.with_context(|| kubectl.name())??;
    }
    Ok(())
}

//! Streams that are opened and cut, straight at the node.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::stream;
use integration::agent_config::KUBELET_PORT;
use integration::node::NodeOptions;
use integration::pki::{Identity, Pair};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::LIMIT;

const STREAMS: usize = 1000;
/// Streams at once.
const AT_ONCE: usize = 20;
/// A host name in the serving certificate, whatever address the node gets.
const HOST: &str = "kubelet.test";

pub fn tests() -> Vec<Test> {
    integration::tests![; alone: thousand_streams_cut_anywhere_leave_no_descriptor]
}

/// Opens connections to a kubelet server that trusts the cluster's authority.
#[derive(Clone)]
struct Dialer {
    tls: TlsConnector,
    address: SocketAddr,
}

impl Dialer {
    fn new(authority: &str, pair: &Pair, address: SocketAddr) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?;
        Ok(Self { tls: Arc::new(config).into(), address })
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        Ok(self.tls.connect(ServerName::try_from(HOST)?, stream).await?)
    }
}

/// A generator of numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap_or(0)
    }
}

/// A request for a stream of one of the kinds there are.
fn request(namespace: &str, kind: usize) -> String {
    let exec = format!("/exec/{namespace}/a/main?command=cat&input=1&output=1&error=1");
    let forward = format!("/portForward/{namespace}/a");
    let spdy =
        |protocol: &str| format!("Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocol}\r\n");
    let websocket = |protocol: &str| {
        format!(
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}\r\n"
        )
    };
    let (line, headers) = match kind {
        0 => (format!("POST {exec}"), spdy("v4.channel.k8s.io")),
        1 => (format!("GET {exec}"), websocket("v4.channel.k8s.io")),
        2 => (format!("GET {exec}"), websocket("v5.channel.k8s.io")),
        3 => (format!("POST {forward}"), spdy("portforward.k8s.io")),
        4 => (format!("GET {forward}?port=80"), websocket("v4.channel.k8s.io")),
        _ => (format!("GET {forward}"), websocket("SPDY/3.1+portforward.k8s.io")),
    };
    format!(
        "{line} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nContent-Length: 0\r\n{headers}\r\n"
    )
}

/// Whether the runtime speaks first: on channels it tells that it is there.
fn is_greeted(kind: usize) -> bool {
    [1, 2, 4].contains(&kind)
}

/// Opens a stream, goes some way and lets go.
async fn cut(dialer: &Dialer, namespace: &str, plan: (usize, usize, usize)) -> Result<()> {
    let (kind, way, bytes) = plan;
    let request = request(namespace, kind);
    let mut stream = dialer.connect().await?;
    let request = request.as_bytes();
    let sent = if way == 0 { bytes % request.len() } else { request.len() };
    stream.write_all(&request[..sent]).await?;
    if way < 2 {
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.context("no answer")?);
    }
    let head = String::from_utf8_lossy(&head);
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // A client's frame of bytes that say nothing; to SPDY it is one for an unknown stream.
    let frame = [&[0x82, 0x80 | 100, 0, 0, 0, 0][..], &[0; 100]].concat();
    if way >= 3 {
        let _ = stream.write_all(&frame[..1 + bytes % frame.len()]).await;
    }
    match way {
        // The orderly end of TLS and TCP instead of a reset.
        4 => stream.shutdown().await.unwrap_or_default(),
        5 if is_greeted(kind) => {
            let _ = stream.read(&mut vec![0; bytes % 64 + 1]).await;
        }
        _ => {}
    }
    Ok(())
}

async fn thousand_streams_cut_anywhere_leave_no_descriptor(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let authority = cluster.pki().authority();
    let dir = cluster.run().directory().join(format!("cut-{}", context.number()));
    fs::create_dir_all(&dir)?;
    let serving = authority.server("kubelet", &[HOST])?;
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| dir.join(name));
    fs::write(&certificate, serving.certificate)?;
    fs::write(&key, serving.key)?;
    let options = NodeOptions {
        kubelet_config: json!({"tlsCertFile": certificate, "tlsPrivateKeyFile": key}),
        ..NodeOptions::default()
    };
    let node = context.node(options).await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 3600");
    pods::run(&cluster, &pod, LIMIT).await?;
    let administrator = Identity { user: "cutter", group: Some("system:masters") };
    let pair = authority.client(administrator)?;
    let address = SocketAddr::new(node.place().v4().into(), KUBELET_PORT);
    let dialer = Dialer::new(authority.certificate(), &pair, address)?;
    let process = *node.agent()?.ids().first().context("no agent")?;
    let descriptors = || fs::read_dir(format!("/proc/{process}/fd")).map(Iterator::count);

    // What is opened once and kept, such as a connection to the API server, is open after one.
    for kind in 0..6 {
        cut(&dialer, &namespace, (kind, 3, 1)).await?;
    }
    let before = settled(descriptors).await?;
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let plans: Vec<_> =
        (0..STREAMS).map(|_| (dice.below(6), dice.below(6), dice.below(4096))).collect();
    let (dialer, namespace) = (&dialer, &namespace);
    let cuts = stream::iter(plans).map(|plan| async move {
        let done = tokio::time::timeout(LIMIT, cut(dialer, namespace, plan)).await;
        let what = || format!("kind, way and bytes {plan:?}");
        done.with_context(what)?.with_context(what)
    });
    let failures: Vec<anyhow::Error> =
        cuts.buffer_unordered(AT_ONCE).filter_map(|done| async { done.err() }).collect().await;
    ensure!(failures.is_empty(), "{} failures, first {:#}", failures.len(), failures[0]);
    wait::until("descriptors are closed", LIMIT, || async {
        let now = descriptors()?;
        Ok(if now <= before {
            Look::Met(())
        } else {
            Look::NotYet(format!("{now} descriptors, {before} before"))
        })
    })
    .await?;
    node.agent()?.expect_running()
}

/// The runtime lets go of a forwarding without streams after 30 s, and then the number has to stay
/// as it is for 400 looks.
const STEADY_LIMIT: Duration = Duration::from_secs(240);

/// The number when it has been the same for a while: 400 looks are more than the 10 s that a
/// stream may take to end after a cut.
async fn settled(count: impl Fn() -> std::io::Result<usize>) -> Result<usize> {
    let seen = std::sync::Mutex::new((0, 0));
    wait::until("a steady number of descriptors", STEADY_LIMIT, || async {
        let now = count()?;
        let mut seen = seen.lock().map_err(|_| anyhow::anyhow!("a look panicked"))?;
        let looks = if seen.0 == now { seen.1 + 1 } else { 0 };
        *seen = (now, looks);
        Ok(if looks > 400 { Look::Met(now) } else { Look::NotYet(format!("{now}")) })
    })
    .await
}

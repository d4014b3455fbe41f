//! The routes over in-memory connections, with a runtime in memory.

mod passing;
mod websockets;

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Mutex;

use async_trait::async_trait;
use axum::body::Body;
use cri_proto::runtime::v1 as cri;
use http::{Request, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;

use super::*;
use crate::boundary::{RuntimeError, StreamingServerError, UpgradeAnswer, UpgradeCall};
use crate::model::Pod;
use crate::pleg::{PlegTask, RuntimeReader};
use crate::podsource::DesiredPods;
use crate::server::route::{Found, RouteTable};
use crate::status::StatusTask;
use crate::testing::build::pod;
use crate::testing::clock::paused_clock;
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_runtime::FakeRuntime;

/// A streaming server that answers as it was told and records what it was asked.
#[derive(Default)]
struct FakeServer {
    calls: Mutex<Vec<UpgradeCall>>,
    answers: Mutex<VecDeque<Result<UpgradeAnswer, StreamingServerError>>>,
}

#[async_trait]
impl StreamingServer for FakeServer {
    async fn upgrade(&self, call: UpgradeCall) -> Result<UpgradeAnswer, StreamingServerError> {
        self.calls.lock().unwrap().push(call);
        let answer = self.answers.lock().unwrap().pop_front();
        answer.expect("the test told what to answer")
    }
}

impl FakeServer {
    fn answer(&self, answer: Result<UpgradeAnswer, StreamingServerError>) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// The next request is upgraded with these headers; returns the runtime's end.
    fn upgrade_next(&self, headers: &[(&'static str, &'static str)]) -> DuplexStream {
        let (near, far) = duplex(1024);
        let connection = Box::new(near);
        self.answer(Ok(UpgradeAnswer::Upgraded { headers: header_map(headers), connection }));
        far
    }
}

fn header_map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = headers.iter().map(|(name, value)| {
        (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
    });
    pairs.collect()
}

/// A node with the running pod `web` in namespace `default`: containers `app`, and `shell` with a
/// terminal; and the pod `late`, which the runtime has nothing of.
struct Node {
    runtime: FakeRuntime,
    server: Arc<FakeServer>,
    streams: Arc<Streams>,
}

impl Node {
    async fn new() -> Self {
        let web = pod("default/web").uid("1").container("app").container("shell");
        let web = web.changed("shell", |container| container.tty = Some(true)).build();
        let late = pod("default/late").uid("2").container("app").build();
        let (runtime, wakes) = FakeRuntime::new(paused_clock());
        runtime.set_stream_url("http://127.0.0.1:1");
        start(&runtime, &web).await;
        let shared = Arc::new(runtime.clone());
        let reader = RuntimeReader { sandboxes: shared.clone(), containers: shared.clone() };
        let pods = NodePods {
            desired: watch::channel(Arc::new(desired([web, late]))).1,
            workers: watch::channel(Arc::default()).1,
            pleg: PlegTask::new(reader, wakes).1,
            status: StatusTask::new(Arc::new(FakeApi::new("node"))).1,
        };
        let server = Arc::new(FakeServer::default());
        let parts = StreamParts {
            pods,
            containers: shared.clone(),
            sandboxes: shared.clone(),
            streaming: shared,
            server: server.clone(),
            metrics: ServerMetrics::default(),
        };
        let streams = Arc::new(Streams { parts, slots: Arc::new(Semaphore::new(4)) });
        Self { runtime, server, streams }
    }

    /// A connection to the routes.
    fn connect(&self) -> DuplexStream {
        let (near, far) = duplex(1024);
        let table = Arc::new(RouteTable::new(self.streams.routes()));
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let table = Arc::clone(&table);
            async move { Ok::<_, Infallible>(serve(&table, request).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(far), service);
        tokio::spawn(connection.with_upgrades());
        near
    }

    /// Sends a request and returns the connection with the answer's status, head and what of the
    /// body came with `Content-Length`.
    async fn ask(&self, line: &str, headers: &str) -> (DuplexStream, Reply) {
        let mut connection = self.connect();
        let request = format!("{line} HTTP/1.1\r\nHost: node\r\n{headers}\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let reply = Reply::read(&mut connection).await;
        (connection, reply)
    }

    /// The status and body of an answer without an upgrade.
    async fn refusal(&self, line: &str, headers: &str) -> (u16, String) {
        let (_, reply) = self.ask(line, headers).await;
        (reply.status, reply.body)
    }

    /// Waits until no stream is open.
    async fn idle(&self) {
        let all = self.streams.slots.acquire_many(4).await.unwrap();
        drop(all);
    }
}

async fn serve(table: &RouteTable, request: Request<hyper::body::Incoming>) -> Response {
    let path = request.uri().path().to_owned();
    let Found::Route(route, path) = table.find(request.method(), &path) else {
        panic!("there is no route for {path}")
    };
    let request = request.map(Body::new);
    route.answer(Call { path, caller: Default::default(), request }).await
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    async fn read(connection: &mut DuplexStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        connection.read_exact(&mut body).await.unwrap();
        Self { status, head, body: String::from_utf8(body).unwrap() }
    }
}

fn desired(pods: impl IntoIterator<Item = Pod>) -> DesiredPods {
    let pods: HashMap<_, _> = pods.into_iter().map(|pod| (pod.uid().clone(), pod)).collect();
    DesiredPods { pods, all_synced: true, api_synced: true, ..DesiredPods::default() }
}

/// Starts the pod's sandbox and containers.
async fn start(runtime: &FakeRuntime, pod: &Pod) {
    let metadata = cri::PodSandboxMetadata {
        name: pod.name().to_owned(),
        uid: pod.uid().to_string(),
        namespace: pod.namespace().to_owned(),
        attempt: 0,
    };
    let config = cri::PodSandboxConfig { metadata: Some(metadata), ..Default::default() };
    let sandbox = runtime.run_sandbox(config.clone(), "").await.unwrap();
    for (_, container) in pod.all_containers() {
        let metadata = cri::ContainerMetadata { name: container.name.clone(), attempt: 0 };
        let container = cri::ContainerConfig { metadata: Some(metadata), ..Default::default() };
        let id = runtime.create_container(&sandbox, container, config.clone()).await.unwrap();
        runtime.start_container(&id).await.unwrap();
    }
}

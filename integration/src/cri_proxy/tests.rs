use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use cri_proto::runtime::v1 as cri;
use cri_proto::runtime::v1::image_service_client::ImageServiceClient;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A runtime that does whatever it is asked, and a client before it.
struct Ground {
    proxy: Arc<CriProxy>,
    client: ImageServiceClient<Channel>,
    _directory: TempDir,
}

impl Ground {
    fn new() -> Self {
        let ground = Self::without_runtime();
        let runtime = UnixListener::bind(&ground.proxy.state.runtime).expect("socket");
        tokio::spawn(obey(runtime));
        ground
    }

    fn without_runtime() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let socket = directory.path().join("proxy.sock");
        let proxy = CriProxy::start(&socket, &directory.path().join("cri.sock")).expect("proxy");
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()));
        let client = ImageServiceClient::new(endpoint.expect("endpoint").connect_lazy());
        Self { proxy: Arc::new(proxy), client, _directory: directory }
    }

    /// The code that the client gets when it removes an image.
    async fn remove(&self, image: &str) -> Code {
        let image = Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() });
        let answer = self.client.clone().remove_image(cri::RemoveImageRequest { image }).await;
        answer.map_or_else(|status: Status| status.code(), |_| Code::Ok)
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.proxy.log().into_iter().map(|call| call.outcome).collect()
    }
}

async fn obey(listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = service_fn(|request: Request<Incoming>| async move {
            let _ = request.into_body().collect().await;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            // One empty message.
            let body = Full::new(Bytes::from_static(&[0; 5]));
            let body = body.with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers))));
            Response::builder().header("content-type", "application/grpc").body(body)
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
    }
}

fn of(image: &str) -> Target {
    Target::image("RemoveImage", image)
}

#[tokio::test]
async fn calls_are_forwarded_and_noted_with_their_subject() {
    let ground = Ground::new();
    assert_eq!(ground.remove("a").await, Code::Ok);
    let log = ground.proxy.log();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].to_string(), "RemoveImage a Answered(0)");
    assert!(log[0].outcome.is_done());
}

#[tokio::test]
async fn fault_meets_so_many_calls_of_its_subject_and_no_other() {
    let ground = Ground::new();
    ground.proxy.inject(of("a"), Fault::Refuse(Code::Internal), 2);
    assert_eq!(ground.remove("b").await, Code::Ok);
    assert_eq!(ground.remove("a").await, Code::Internal);
    assert_eq!(ground.remove("a").await, Code::Internal);
    assert_eq!(ground.remove("a").await, Code::Ok);
    let (seen, withheld) = (Outcome::Answered(0), Outcome::Withheld);
    assert_eq!(ground.outcomes(), [seen, withheld, withheld, seen]);
}

#[tokio::test]
async fn faults_that_met_no_call_are_told() {
    let ground = Ground::new();
    ground.proxy.inject(of("a"), Fault::Cut, 1);
    ground.proxy.inject(Target::any("Version"), Fault::Hang, 1);
    assert_eq!(ground.remove("a").await, Code::Unavailable);
    assert_eq!(ground.proxy.take_unused(), ["Version Hang"]);
    assert!(ground.proxy.take_unused().is_empty());
}

#[tokio::test]
async fn cut_call_is_carried_out_though_its_caller_hears_of_a_broken_connection() {
    let ground = Ground::new();
    ground.proxy.inject(of("a"), Fault::Cut, 1);
    assert_eq!(ground.remove("a").await, Code::Unavailable);
    assert_eq!(ground.outcomes(), [Outcome::Answered(0)]);
}

#[tokio::test]
async fn held_call_waits_for_its_verdict() {
    for (moment, release, code, outcome) in [
        (Moment::Before, true, Code::Ok, Outcome::Answered(0)),
        (Moment::Before, false, Code::Unavailable, Outcome::Withheld),
        (Moment::After, true, Code::Ok, Outcome::Answered(0)),
        (Moment::After, false, Code::Unavailable, Outcome::Answered(0)),
    ] {
        let ground = Ground::new();
        let hold = ground.proxy.hold(of("a"), moment);
        let decide = async {
            hold.reached(LIMIT).await.expect("held");
            let expected =
                if moment == Moment::Before { Outcome::Open } else { Outcome::Answered(0) };
            assert_eq!(ground.outcomes(), [expected]);
            if release { hold.release() } else { hold.discard() }
        };
        let (seen, ()) = futures::future::join(ground.remove("a"), decide).await;
        assert_eq!(seen, code, "{moment:?} {release}");
        assert_eq!(ground.outcomes(), [outcome], "{moment:?} {release}");
    }
}

#[tokio::test]
async fn held_call_goes_on_when_its_caller_has_gone() {
    let ground = Ground::new();
    let hold = ground.proxy.hold(of("a"), Moment::Before);
    tokio::select! {
        _ = ground.remove("a") => panic!("was not held"),
        reached = hold.reached(LIMIT) => reached.expect("held"),
    }
    hold.release();
    let outcomes = || async { Ok(ground.outcomes()) };
    let done = |outcomes: &Vec<Outcome>| *outcomes == [Outcome::Answered(0)];
    crate::wait::until_value("forwarded call", LIMIT, outcomes, done).await.expect("forwarded");
}

#[tokio::test]
async fn absent_runtime_looks_as_without_a_proxy() {
    let ground = Ground::without_runtime();
    assert_ne!(ground.remove("a").await, Code::Ok);
    let runtime = UnixListener::bind(&ground.proxy.state.runtime).expect("socket");
    tokio::spawn(obey(runtime));
    assert_eq!(ground.remove("a").await, Code::Ok);
}

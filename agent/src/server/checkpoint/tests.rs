use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use http::Request;

use super::*;
use crate::server::fixtures::NodePodsBuilder;
use crate::server::route::{Found, RouteTable};
use crate::testing::build::{at, pod, runtime};

#[derive(Default)]
struct Runtime {
    calls: Mutex<Vec<String>>,
    failure: Option<RuntimeError>,
}

#[async_trait]
impl Checkpoints for Runtime {
    async fn checkpoint(
        &self,
        id: &ContainerId,
        location: &Path,
        timeout: Duration,
    ) -> Result<(), RuntimeError> {
        let line = format!("{id} {} {timeout:?}", location.display());
        self.calls.lock().unwrap().push(line);
        self.failure.clone().map_or(Ok(()), Err)
    }
}

async fn post(runtime_fails: Option<RuntimeError>, path: &str) -> (String, Vec<String>) {
    let web = pod("shop/web").container("main").init("setup").build();
    let held = runtime(&web).sandbox(0).running("main", 0).build();
    let container = Arc::new(Runtime { failure: runtime_fails, ..Runtime::default() });
    let parts = CheckpointParts {
        pods: NodePodsBuilder::default().desired(web).runtime(held).build(),
        runtime: Arc::clone(&container) as _,
        directory: "/root/checkpoints".into(),
        clock: Arc::new(|| at(5)),
    };
    let table = RouteTable::new(routes(Offered::Yes, parts));
    let request = Request::post(path).body(Body::empty()).unwrap();
    let path = request.uri().path().to_owned();
    let Found::Route(route, values) = table.find(&Method::POST, &path) else {
        return ("no route".to_owned(), Vec::new());
    };
    let answer = route.answer(Call { path: values, caller: Default::default(), request }).await;
    let code = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let calls = container.calls.lock().unwrap().clone();
    (format!("{code} {}", String::from_utf8_lossy(&body)), calls)
}

#[tokio::test]
async fn a_running_container_is_written_into_an_archive() {
    let location = "/root/checkpoints/checkpoint-web_shop-main-2026-01-02T00:00:05Z.tar";
    let (answer, calls) = post(None, "/checkpoint/shop/web/main?timeout=1&timeout=30").await;
    assert_eq!(answer, format!("200 {{\"items\":[\"{location}\"]}}"));
    assert_eq!(calls.len(), 1);
    assert!(calls[0].ends_with(&format!("{location} 30s")), "{calls:?}");
}

#[tokio::test]
async fn refusals_have_the_kubelets_words() {
    for (path, expected) in [
        ("/checkpoint/shop/none/main", "404 pod does not exist"),
        ("/checkpoint/shop/web/none", "404 container none does not exist"),
        ("/checkpoint/shop/web/main?timeout=x", "404 cannot parse value of timeout parameter"),
        (
            "/checkpoint/shop/web/main?timeout=-1",
            "500 checkpointing of shop/web/main failed (CheckpointContainer got the timeout value < 0)",
        ),
        (
            "/checkpoint/shop/web/setup",
            "500 checkpointing of shop/web/setup failed (container setup not found)",
        ),
    ] {
        let (answer, calls) = post(None, path).await;
        assert_eq!(answer, expected, "{path}");
        assert!(calls.is_empty(), "{path}: {calls:?}");
    }
}

#[tokio::test]
async fn what_the_runtime_says_is_passed_on() {
    for (error, words) in [
        (
            RuntimeError::Unimplemented("CheckpointContainer".to_owned()),
            "rpc error: code = Unimplemented desc = unknown method CheckpointContainer",
        ),
        (
            RuntimeError::Refused { code: "Unknown".to_owned(), message: "no criu".to_owned() },
            "rpc error: code = Unknown desc = no criu",
        ),
    ] {
        let (answer, _) = post(Some(error), "/checkpoint/shop/web/main").await;
        assert_eq!(answer, format!("500 checkpointing of shop/web/main failed ({words})"));
    }
}

#[test]
fn there_is_no_route_while_the_feature_is_off() {
    let parts = CheckpointParts {
        pods: NodePodsBuilder::default().build(),
        runtime: Arc::new(Runtime::default()),
        directory: "/".into(),
        clock: Arc::new(|| at(0)),
    };
    assert!(routes(Offered::No, parts).is_empty());
}

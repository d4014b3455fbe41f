use std::sync::Arc;

use cri_proto::runtime::v1::{
    ContainerConfig, ContainerMetadata, PodSandboxConfig, PodSandboxMetadata,
};
use http::Request;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1 as api;
use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::boundary::{Containers, Sandboxes};
use crate::pleg::{PlegTask, RuntimeReader};
use crate::podsource::DesiredPods;
use crate::podworker::WorkerStates;
use crate::server::route::{Caller, Found, RouteTable};
use crate::status::StatusHandle;
use crate::testing::build::pod;
use crate::testing::clock::paused_clock;
use crate::testing::fake_runtime::FakeRuntime;

const STAMP: &str = "2016-10-06T00:17:09.669794202Z stdout F ";

/// A node with the pod `ns/p`, whose container `c` has a log.
struct Ground {
    root: tempfile::TempDir,
    table: RouteTable,
    status: StatusHandle,
    pod: Pod,
}

/// Runs the container `c` of the pod with its log at `log_path`.
async fn run(runtime: &FakeRuntime, pod: &Pod, log_path: String) -> ContainerId {
    let sandbox = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_string(),
            namespace: pod.namespace().to_owned(),
            attempt: 0,
        }),
        ..PodSandboxConfig::default()
    };
    let id = runtime.run_sandbox(sandbox.clone(), "").await.unwrap();
    let container = ContainerConfig {
        metadata: Some(ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
        log_path,
        ..ContainerConfig::default()
    };
    let id = runtime.create_container(&id, container, sandbox).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    id
}

impl Ground {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (fake, wakes) = FakeRuntime::new(paused_clock());
        let reader =
            RuntimeReader { sandboxes: Arc::new(fake.clone()), containers: Arc::new(fake.clone()) };
        let (pleg_task, pleg) = PlegTask::new(reader, wakes);
        tokio::spawn(pleg_task.run());
        let pod = pod("ns/p").container("c").container("other").build();
        let mut desired = DesiredPods::default();
        desired.pods.insert(pod.uid().clone(), pod.clone());
        let status = StatusHandle::nowhere();
        let parts = LogParts {
            pods: NodePods {
                desired: watch::channel(Arc::new(desired)).1,
                workers: watch::channel(Arc::new(WorkerStates::default())).1,
                pleg,
                status: status.clone(),
            },
            root: root.path().to_owned(),
            watch: None,
            clock: paused_clock(),
        };
        let path = root.path().join("ns_p/c/0.log");
        let id = run(&fake, &pod, path.display().to_string()).await;
        let ground = Self { root, table: RouteTable::new(routes(parts)), status, pod };
        ground.publish(json!({"running": {}}), &format!("containerd://{id}")).await;
        ground
    }

    async fn publish(&self, state: serde_json::Value, id: &str) {
        let status: api::PodStatus = serde_json::from_value(json!({"containerStatuses": [{
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": state, "containerID": id,
        }]}))
        .unwrap();
        self.status.publish(&self.pod, status).await;
    }

    fn write(&self, text: &str) {
        let path = self.root.path().join("ns_p/c/0.log");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Code and text of the answer to a GET.
    async fn get(&self, uri: &str) -> (u16, String) {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let Found::Route(route, path) = self.table.find(&Method::GET, request.uri().path()) else {
            panic!("no route for {uri}");
        };
        let call = Call { path, caller: Caller::default(), request };
        let response = route.answer(call).await;
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        let code = response.status().as_u16();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(text.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn log_is_answered_as_text() {
    let ground = Ground::new().await;
    ground.write(&format!("{STAMP}a\n{STAMP}b\n"));
    assert_eq!(ground.get("/containerLogs/ns/p/c").await, (200, "a\nb\n".to_owned()));
    assert_eq!(ground.get("/containerLogs/ns/p/c?tailLines=1").await, (200, "b\n".to_owned()));
    assert_eq!(ground.get("/containerLogs/ns/p/c?limitBytes=3").await, (200, "a\nb".to_owned()));
    ground.write("");
    assert_eq!(ground.get("/containerLogs/ns/p/c").await, (200, String::new()));
}

#[tokio::test]
async fn refusals_have_the_codes_and_words_of_the_kubelet() {
    let ground = Ground::new().await;
    ground
        .publish(json!({"terminated": {"exitCode": 0, "containerID": "containerd://x"}}), "")
        .await;
    for (uri, code, words) in [
        ("/containerLogs/ns/q/c", 404, r#"pod "q" does not exist"#),
        ("/containerLogs/other/p/c", 404, r#"pod "p" does not exist"#),
        ("/containerLogs/ns/p/d", 404, r#"container "d" not found in pod "p""#),
        ("/containerLogs/ns/p/other", 400, r#"container "other" in pod "p" is not available"#),
        (
            "/containerLogs/ns/p/c?previous=true",
            400,
            r#"previous terminated container "c" in pod "p" not found"#,
        ),
        ("/containerLogs/ns/p/c?tailLines=x", 400, r#"{"message": "Unable to decode query."}"#),
        ("/containerLogs/ns/p/c?limitBytes=0", 422, r#"{"message": "Invalid request."}"#),
        ("/containerLogs/ns/p/c", 400, "unable to retrieve container logs for containerd://x"),
    ] {
        assert_eq!(ground.get(uri).await, (code, words.to_owned()), "{uri}");
    }
    ground.publish(json!({"waiting": {"reason": "ContainerCreating"}}), "").await;
    let waiting = r#"container "c" in pod "p" is waiting to start: ContainerCreating"#;
    assert_eq!(ground.get("/containerLogs/ns/p/c").await, (400, waiting.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn log_that_is_not_there_is_named() {
    let ground = Ground::new().await;
    let path = ground.root.path().join("ns_p/c/0.log").display().to_string();
    let words = format!("failed to open log file {path:?}: No such file or directory (os error 2)");
    assert_eq!(ground.get("/containerLogs/ns/p/c").await, (400, words));
}

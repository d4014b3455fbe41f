//! Pods of a node for tests of handlers, and a way to ask a route.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use http::{Method, Request};
use tokio::sync::watch;

use super::NodePods;
use super::route::{Call, Found, Route, RouteTable};
use crate::model::{Pod, RuntimePod, RuntimePods};
use crate::pleg::PlegHandle;
use crate::podsource::DesiredPods;
use crate::podworker::WorkerStates;
use crate::status::StatusHandle;

/// What the slices publish of the pods.
#[derive(Default)]
pub(super) struct NodePodsBuilder {
    desired: DesiredPods,
    runtime: Option<RuntimePods>,
}

impl NodePodsBuilder {
    pub fn desired(mut self, pod: Pod) -> Self {
        self.desired.pods.insert(pod.uid().clone(), pod);
        self
    }

    pub fn runtime(mut self, held: RuntimePod) -> Self {
        self.runtime.get_or_insert_default().insert(held.uid.clone(), Arc::new(held));
        self
    }

    pub fn build(self) -> NodePods {
        NodePods {
            desired: watch::channel(Arc::new(self.desired)).1,
            workers: watch::channel(Arc::new(WorkerStates::new())).1,
            pleg: PlegHandle::showing(self.runtime.map(Arc::new)),
            status: StatusHandle::nowhere(),
        }
    }
}

/// Code, content type and body of what the routes answer.
pub(super) async fn ask(routes: Vec<Route>, request: Request<Body>) -> (u16, String, Vec<u8>) {
    let table = RouteTable::new(routes);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let Found::Route(route, values) = table.find(&method, &path) else {
        return (404, String::new(), Vec::new());
    };
    let call = Call { path: values, caller: Default::default(), request };
    let answer = route.answer(call).await;
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let code = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (code, kind.unwrap_or_default(), body.to_vec())
}

/// The same of a GET, the body as text.
pub(super) async fn get(routes: Vec<Route>, uri: &str) -> (u16, String, String) {
    let request = Request::builder().method(Method::GET).uri(uri).body(Body::empty()).unwrap();
    let (code, kind, body) = ask(routes, request).await;
    (code, kind, String::from_utf8(body).unwrap())
}

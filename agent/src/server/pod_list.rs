//! `/pods`: the pods this node is to run, and how they are.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::json;

use super::NodePods;
use super::route::{Access, Limits, Offer, Route};
use crate::model::Pod;

#[cfg(test)]
mod tests;

/// A list takes a few milliseconds and, with 110 pods, about a megabyte.
const LIMITS: Limits = Limits { body_bytes: 0, at_once: 16, deadline: Duration::from_secs(30) };

pub fn routes(pods: NodePods) -> Vec<Route> {
    let list = move |_| {
        let pods = pods.clone();
        async move { answer(&pods) }
    };
    let access = Access(&["pods", "proxy"]);
    vec![Route::new((&[Method::GET], "/pods"), Offer::SecureAndReadOnly, access, LIMITS, list)]
}

fn answer(pods: &NodePods) -> Response {
    let desired = Arc::clone(&pods.desired.borrow());
    let all: Vec<&Pod> = desired.pods.values().collect();
    let statuses: Vec<_> = all.iter().map(|pod| pods.status.published(pod.uid())).collect();
    let items = all.iter().zip(&statuses).map(|(pod, status)| item(pod, status.as_deref()));
    match pod_list(items) {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(error) => {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// A pod inside a list, where kind and version are the list's.
#[derive(Serialize)]
pub struct PodItem<'a> {
    pub metadata: &'a ObjectMeta,
    pub spec: Option<&'a api::PodSpec>,
    pub status: Option<&'a api::PodStatus>,
}

/// The pod with the status that was published last, else with the one of its source.
fn item<'a>(pod: &'a Pod, published: Option<&'a api::PodStatus>) -> PodItem<'a> {
    let object = pod.object();
    PodItem {
        metadata: &object.metadata,
        spec: object.spec.as_ref(),
        status: published.or(object.status.as_ref()),
    }
}

/// A v1 PodList in JSON.
pub fn pod_list<'a>(
    items: impl Iterator<Item = PodItem<'a>>,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        kind: &'static str,
        api_version: &'static str,
        metadata: serde_json::Value,
        items: Vec<PodItem<'a>>,
    }
    let (kind, api_version, metadata) = ("PodList", "v1", json!({}));
    serde_json::to_vec(&List { kind, api_version, metadata, items: items.collect() })
}

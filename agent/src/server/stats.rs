//! `/stats/summary`, `/metrics/resource` and `/metrics/cadvisor`.
//!
//! Source: kubelet v1.36 `pkg/kubelet/server/stats/handler.go`, `server.go`; the words of errors
//! are its.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;

use super::route::{Access, Call, Limits, Offer, Route};
use crate::stats::{
    CONTENT_TYPE, Reader, Snapshot, StatsError, StatsHandle, build_cpu_and_memory_summary,
    build_summary, render_cadvisor, render_failed_cadvisor, render_failed_resource,
    render_resource,
};

#[cfg(test)]
mod tests;

/// A snapshot takes some milliseconds, and the runtime is waited for 5 s at most. Readers share
/// one snapshot, so few at once are enough.
const LIMITS: Limits =
    Limits { body_bytes: FORM_BYTES, at_once: 16, deadline: Duration::from_secs(30) };

/// A form with the one field that is known.
const FORM_BYTES: usize = 4096;

const ONLY_CPU_AND_MEMORY: &str = "only_cpu_and_memory";

/// The routes; also on the read-only port, as the kubelet has them.
pub fn routes(stats: &StatsHandle) -> Vec<Route> {
    let offer = Offer::SecureAndReadOnly;
    let (summary, resource, cadvisor) = (stats.clone(), stats.clone(), stats.clone());
    vec![
        Route::new(
            (&[Method::GET, Method::POST], "/stats/summary"),
            offer,
            Access(&["stats"]),
            LIMITS,
            move |call| answer_summary(summary.clone(), call),
        ),
        Route::new((&[], "/metrics/resource"), offer, Access(&["metrics"]), LIMITS, move |_| {
            answer_resource(resource.clone())
        }),
        Route::new((&[], "/metrics/cadvisor"), offer, Access(&["metrics"]), LIMITS, move |_| {
            answer_cadvisor(cadvisor.clone())
        }),
    ]
}

async fn answer_summary(stats: StatsHandle, call: Call) -> Response {
    let only = match only_cpu_and_memory(call).await {
        Ok(only) => only,
        Err(problem) => return internal_error(&problem),
    };
    let reader = if only { Reader::CpuAndMemory } else { Reader::Summary };
    let snapshot = match stats.snapshot(reader).await {
        Ok(snapshot) => snapshot,
        Err(error) => return internal_error(&error.to_string()),
    };
    let build = if only { build_cpu_and_memory_summary } else { build_summary };
    match serde_json::to_vec(&build(&snapshot)) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => internal_error(&error.to_string()),
    }
}

/// Whether `only_cpu_and_memory` is given once, in the query or in a posted form, and is `true`.
async fn only_cpu_and_memory(call: Call) -> Result<bool, String> {
    let mut values: Vec<String> = named(call.query());
    let request = call.request;
    let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form = media.is_some_and(|media| {
        media.split(';').next().map(str::trim) == Some("application/x-www-form-urlencoded")
    });
    if request.method() == Method::POST && is_form {
        let body = request.into_body().collect().await;
        let body = body.map_err(|error| format!("parse form failed: {error}"))?.to_bytes();
        let fields = form_urlencoded::parse(&body).into_owned().collect();
        values.extend(named(fields));
    }
    Ok(values == ["true"])
}

fn named(pairs: Vec<(String, String)>) -> Vec<String> {
    let wanted = pairs.into_iter().filter(|(name, _)| name == ONLY_CPU_AND_MEMORY);
    wanted.map(|(_, value)| value).collect()
}

async fn answer_resource(stats: StatsHandle) -> Response {
    let page = match stats.snapshot(Reader::CpuAndMemory).await {
        Ok(snapshot) => render_resource(&snapshot),
        // A reader learns of the failure from the page itself.
        Err(StatsError::Root | StatsError::Ended) => render_failed_resource(),
    };
    metrics(page)
}

async fn answer_cadvisor(stats: StatsHandle) -> Response {
    match stats.snapshot(Reader::Cadvisor).await {
        Ok(snapshot) => metrics(render(snapshot).await),
        Err(StatsError::Root | StatsError::Ended) => metrics(render_failed_cadvisor()),
    }
}

/// The page of a node with a hundred pods is some megabytes; it is written where it holds up
/// nobody.
async fn render(snapshot: Arc<Snapshot>) -> String {
    let page = tokio::task::spawn_blocking(move || render_cadvisor(&snapshot)).await;
    page.unwrap_or_default()
}

fn metrics(page: String) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response()
}

fn internal_error(problem: &str) -> Response {
    let text = format!("Internal Error: {problem}");
    (StatusCode::INTERNAL_SERVER_ERROR, Body::from(text)).into_response()
}

//! `/debug/flags/v`: changes how much is logged while noded runs.

use std::time::Duration;

use axum::body::to_bytes;
use axum::response::Response;
use http::{Method, StatusCode};

use super::reply;
use super::route::{Access, Call, Limits, Offer, Route};
use crate::config::Offered;
use crate::telemetry::LogVerbosity;

#[cfg(test)]
mod tests;

/// A number.
const BODY: usize = 64;
const LIMITS: Limits = Limits { body_bytes: BODY, at_once: 2, deadline: Duration::from_secs(10) };

/// Every method is answered; only PUT changes something.
pub fn routes(offered: Offered, verbosity: LogVerbosity) -> Vec<Route> {
    let answer = move |call: Call| {
        let verbosity = verbosity.clone();
        async move {
            match offered {
                Offered::Yes => put(call, &verbosity).await,
                Offered::No => {
                    let words = "flags endpoint is disabled.";
                    reply::error(StatusCode::METHOD_NOT_ALLOWED, words)
                }
            }
        }
    };
    vec![Route::new((&[], "/debug/flags/v"), Offer::Debugging, Access::PROXY, LIMITS, answer)]
}

async fn put(call: Call, verbosity: &LogVerbosity) -> Response {
    if call.request.method() != Method::PUT {
        return reply::text(StatusCode::NOT_ACCEPTABLE, "unsupported http method");
    }
    let body = match to_bytes(call.request.into_body(), BODY).await {
        Ok(body) => body,
        Err(error) => {
            let words = format!("error reading request body: {error}");
            return reply::text(StatusCode::BAD_REQUEST, words);
        }
    };
    let text = String::from_utf8_lossy(&body);
    match text.parse::<u32>() {
        Ok(level) => match verbosity.set(level) {
            Ok(()) => {
                tracing::info!(level, "log verbosity is changed");
                let words = format!("successfully set klog.logging.verbosity to {text}");
                reply::text(StatusCode::OK, words)
            }
            Err(error) => {
                let words = format!("failed set klog.logging.verbosity {text}: {error}");
                reply::text(StatusCode::BAD_REQUEST, words)
            }
        },
        Err(_) => {
            let words = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            reply::text(StatusCode::BAD_REQUEST, words)
        }
    }
}

//! Pure. The answers that no handler gives, in the words of the kubelet and of Go's HTTP server.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};

fn text(code: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = code;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

fn with(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

pub(super) fn unauthorized() -> Response {
    text(StatusCode::UNAUTHORIZED, "Unauthorized")
}

pub(super) fn forbidden(words: String) -> Response {
    text(StatusCode::FORBIDDEN, words)
}

pub(super) fn authorization_failed(words: String) -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, words)
}

/// `below_known` says that other paths begin as this one does: the kubelet's router of such paths
/// has words of its own.
pub(super) fn not_found(below_known: bool) -> Response {
    let words = if below_known { "404: Page Not Found" } else { "404 page not found\n" };
    text(StatusCode::NOT_FOUND, words)
}

pub(super) fn method_not_allowed(allowed: &[Method]) -> Response {
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let answer = text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    with(answer, ALLOW, &names.join(", "))
}

pub(super) fn debugging_disabled() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled.\n")
}

pub(super) fn body_too_large() -> Response {
    text(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large\n")
}

pub(super) fn too_many() -> Response {
    let words = "Too many requests, please try again later.\n";
    with(text(StatusCode::TOO_MANY_REQUESTS, words), RETRY_AFTER, "1")
}

pub(super) fn too_late() -> Response {
    text(StatusCode::GATEWAY_TIMEOUT, "the request was not answered in time\n")
}

pub(super) fn failed() -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
}

//! Pure. Answers of the small pages.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};

/// Plain text, which no browser takes for anything else.
pub(super) fn text(code: StatusCode, text: impl Into<Body>) -> Response {
    typed(code, "text/plain; charset=utf-8", text)
}

/// An error in words, with the end of line that Go's server puts there.
pub(super) fn error(code: StatusCode, words: &str) -> Response {
    text(code, format!("{words}\n"))
}

/// JSON that is written already.
pub(super) fn json(text: impl Into<Body>) -> Response {
    typed(StatusCode::OK, "application/json", text)
}

/// A body of that content type.
pub(super) fn typed(code: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    let response = with(response, CONTENT_TYPE, HeaderValue::from_static(kind));
    with(response, X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

/// The same answer with one more header.
pub(super) fn with(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

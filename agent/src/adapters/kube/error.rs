//! Pure. What went wrong with a call, in `ApiError`'s words and without saying anything twice.

use std::error::Error;
use std::time::Duration;

use kube::core::Status;

use crate::boundary::ApiError;

/// The error of a call about `object` (`pod ns/name`).
pub(super) fn api_error(object: &str, error: &kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => status_error(object, status),
        kube::Error::SerdeError(error) => ApiError::Unavailable(undecodable(object, error)),
        // A request that cannot even be written down is our own mistake and stays one.
        kube::Error::BuildRequest(error) => ApiError::Invalid(format!("{object}: {error}")),
        other => ApiError::Unavailable(format!("{object}: {}", innermost_text(other))),
    }
}

/// The error a `Status` of the server stands for.
pub(super) fn status_error(object: &str, status: &Status) -> ApiError {
    // The server's message names the object itself, as in: pods "x" is forbidden.
    let words = || match status.message.as_str() {
        "" => format!("{object}: {}", status.reason),
        message => message.to_owned(),
    };
    match status.code {
        404 => ApiError::NotFound(object.to_owned()),
        409 if status.reason == "AlreadyExists" => ApiError::AlreadyExists(object.to_owned()),
        409 => ApiError::Conflict(object.to_owned()),
        422 if refuses_uid(status) => ApiError::Conflict(object.to_owned()),
        401 | 403 => ApiError::Forbidden(words()),
        408 | 410 | 429 => ApiError::Unavailable(words()),
        400..=499 => ApiError::Invalid(words()),
        code => ApiError::Unavailable(format!("{} (HTTP {code})", words())),
    }
}

/// A patch that names a UID other than the object's is called invalid, not a conflict.
fn refuses_uid(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.field == "metadata.uid")
}

/// Where an answer stopped making sense. The decoder's own words are left out: they may quote the
/// answer, and the answer may be a Secret.
pub(super) fn undecodable(object: &str, error: &serde_json::Error) -> String {
    format!("{object}: answer cannot be decoded at line {} column {}", error.line(), error.column())
}

/// Texts of an error and its causes, each said once. Libraries tend to repeat the cause's text in
/// their own, so a link whose text holds the next one's is dropped in favour of that.
pub(super) fn innermost_text(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut link: Option<&dyn Error> = Some(error);
    while let Some(current) = link {
        let text = current.to_string();
        texts.retain(|earlier| !earlier.contains(&text));
        texts.push(text);
        link = current.source();
    }
    texts.join(": ")
}

/// Pauses before asking again while [`is_authorizer_lag`]; together a little over a second, after
/// which it is taken for a real refusal.
pub(super) const LAG_PAUSES: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
    Duration::from_millis(640),
];

/// Whether a refusal comes from the Node authorizer, which learns of a pod's binding from a watch
/// of its own and so may know of it a moment later than the node does.
pub(super) fn is_authorizer_lag(refusal: &str) -> bool {
    refusal.contains("no relationship found between node")
}

#[cfg(test)]
mod tests;

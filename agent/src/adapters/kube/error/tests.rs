use super::*;

fn status(code: u16, reason: &str, message: &str) -> Status {
    Status { code, reason: reason.to_owned(), message: message.to_owned(), ..Status::default() }
}

#[test]
fn status_code_decides_the_error() {
    use ApiError::*;
    let message = r#"pods "web" says no"#;
    let object = || "pod ns/web".to_owned();
    let words = || message.to_owned();
    let table = [
        (400, "BadRequest", Invalid(words())),
        (401, "Unauthorized", Forbidden(words())),
        (403, "Forbidden", Forbidden(words())),
        (404, "NotFound", NotFound(object())),
        (409, "Conflict", Conflict(object())),
        (409, "AlreadyExists", AlreadyExists(object())),
        (410, "Expired", Unavailable(words())),
        (422, "Invalid", Invalid(words())),
        (429, "TooManyRequests", Unavailable(words())),
        (500, "InternalError", Unavailable(format!("{message} (HTTP 500)"))),
        (503, "ServiceUnavailable", Unavailable(format!("{message} (HTTP 503)"))),
    ];
    for (code, reason, expected) in table {
        assert_eq!(status_error("pod ns/web", &status(code, reason, message)), expected);
    }
}

#[test]
fn patch_for_another_uid_is_a_conflict() {
    let mut status = status(422, "Invalid", "field is immutable");
    status.details = serde_json::from_value(serde_json::json!({
        "causes": [{"reason": "FieldValueInvalid", "field": "metadata.uid"}]}))
    .unwrap();
    let error = status_error("pod ns/web", &status);
    assert_eq!(error, ApiError::Conflict("pod ns/web".to_owned()));
}

#[test]
fn silent_status_is_named_by_object_and_reason() {
    let error = status_error("pod ns/web", &status(403, "Forbidden", ""));
    assert_eq!(error, ApiError::Forbidden("pod ns/web: Forbidden".to_owned()));
}

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Link {
    text: &'static str,
    source: Option<Box<Link>>,
}

#[test]
fn text_of_a_cause_is_said_once() {
    let table: [(&[&str], &str); 4] = [
        (&["refused"], "refused"),
        (&["connect error", "refused"], "connect error: refused"),
        (&["connect error: refused", "refused"], "refused"),
        (&["call: connect: refused", "connect: refused", "refused"], "refused"),
    ];
    for (texts, expected) in table {
        let chain =
            texts.iter().rev().fold(None, |source, text| Some(Box::new(Link { text, source })));
        assert_eq!(innermost_text(&*chain.unwrap()), expected);
    }
}

#[test]
fn undecodable_answer_is_not_quoted() {
    let error = serde_json::from_str::<u8>("\"hunter2\"").unwrap_err();
    assert!(error.to_string().contains("hunter2"));
    let error = api_error("secret ns/s", &kube::Error::SerdeError(error));
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

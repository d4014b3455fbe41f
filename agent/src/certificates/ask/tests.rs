use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::csr::{Purpose, build_request};
use super::*;
use crate::testing::fake_csrs::FakeCsrs;

fn issued() -> Value {
    json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": "Y2VydA=="})
}

fn request() -> CertificateSigningRequest {
    build_request(Purpose::Client, "node-csr-1".to_owned(), "pem".to_owned())
}

/// A decider who issues at the given look.
fn issues_at(look: usize) -> FakeCsrs {
    FakeCsrs::new(move |_, looks| (looks >= look).then(issued))
}

#[tokio::test(start_paused = true)]
async fn certificate_is_fetched_soon_after_it_is_issued() {
    let api = issues_at(1);
    let begun = Instant::now();
    assert_eq!(obtain(&api, &request(), Persistence::Endless).await.unwrap(), b"cert");
    assert_eq!(begun.elapsed(), FIRST_PAUSE);
    assert_eq!(api.calls(), ["create", "get"]);
}

#[tokio::test(start_paused = true)]
async fn approval_is_waited_for_with_growing_pauses() {
    let api = issues_at(20);
    let begun = Instant::now();
    assert_eq!(obtain(&api, &request(), Persistence::Endless).await.unwrap(), b"cert");
    // 0.2 + 0.4 + ... + 6.4 s, then 10 s each.
    assert_eq!(begun.elapsed(), Duration::from_millis(12_600) + 14 * LONGEST_PAUSE);
    assert_eq!(api.names(), ["node-csr-1"]);
}

#[tokio::test(start_paused = true)]
async fn request_of_an_earlier_attempt_is_taken_up() {
    let api = issues_at(1);
    api.put(request());
    assert_eq!(obtain(&api, &request(), Persistence::Endless).await.unwrap(), b"cert");
    assert_eq!(api.calls(), ["create", "get"]);
}

#[tokio::test(start_paused = true)]
async fn unreachable_server_is_asked_again() {
    let api = issues_at(1);
    for text in ["refused", "refused", "no route"] {
        api.fail_next(ApiError::Unavailable(text.to_owned()));
    }
    assert_eq!(obtain(&api, &request(), Persistence::Endless).await.unwrap(), b"cert");
    assert_eq!(api.calls(), ["create", "create", "create", "create", "get"]);
}

#[tokio::test(start_paused = true)]
async fn forgotten_request_is_created_anew() {
    let api = issues_at(1);
    api.put(request());
    api.fail_next(ApiError::AlreadyExists("node-csr-1".to_owned()));
    api.fail_next(ApiError::NotFound("node-csr-1".to_owned()));
    assert_eq!(obtain(&api, &request(), Persistence::Endless).await.unwrap(), b"cert");
    assert_eq!(api.calls(), ["create", "get", "create", "get"]);
}

#[tokio::test(start_paused = true)]
async fn server_that_is_away_ends_an_attempt_that_is_made_once() {
    let api = issues_at(1);
    api.fail_next(ApiError::Unavailable("no route".to_owned()));
    let error = obtain(&api, &request(), Persistence::Once).await.unwrap_err();
    assert!(matches!(&error, AskError::Unreachable(words) if words == "no route"), "{error}");
    // With the request there, the server's absence is one to wait out.
    let api = issues_at(1);
    api.put(request());
    api.fail_next(ApiError::AlreadyExists("node-csr-1".to_owned()));
    api.fail_next(ApiError::Unavailable("no route".to_owned()));
    assert_eq!(obtain(&api, &request(), Persistence::Once).await.unwrap(), b"cert");
}

#[tokio::test(start_paused = true)]
async fn refusals_end_the_attempt_with_the_words_of_who_refused() {
    let condition = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "message": "not known"}]});
    let decided = [
        (condition("Denied"), "certificate signing request node-csr-1 was denied: not known"),
        (
            condition("Failed"),
            "certificate signing request node-csr-1 could not be signed: not known",
        ),
    ];
    for (status, expected) in decided {
        let api = FakeCsrs::new(move |_, _| Some(status.clone()));
        let error = obtain(&api, &request(), Persistence::Endless).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let answered = [
        (ApiError::Forbidden("Unauthorized".to_owned()), "the API server refuses: Unauthorized"),
        (ApiError::Invalid("bad usage".to_owned()), "request node-csr-1: bad usage"),
    ];
    for (error, expected) in answered {
        let api = issues_at(1);
        api.fail_next(error);
        let error = obtain(&api, &request(), Persistence::Endless).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains('\n'), "{text}");
    }
}

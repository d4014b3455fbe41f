use super::*;
use crate::podexec::fixtures::pod;
use k8s_openapi::api::authentication::v1::TokenRequestStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

fn key(seconds: i64) -> TokenKey {
    TokenKey { audience: None, expiration_seconds: seconds }
}

fn token(seconds: i64, expires_at: Timestamp) -> Token {
    let mut answer = token_request(&pod(json!({})), &key(seconds));
    answer.status = Some(TokenRequestStatus {
        token: Some("t".to_owned()),
        expiration_timestamp: Some(Time(expires_at)),
    });
    read_token(answer, &key(seconds)).unwrap()
}

#[test]
fn token_is_renewed_after_four_fifths_of_its_life_or_a_day() {
    let issued: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
    let pod = pod(json!({}));
    // life in seconds, renewal after
    for (life, due) in [(600, 480), (3607, 2886), (86_400, 69_120), (172_800, 86_400)] {
        let expires_at = issued + Duration::from_secs(life);
        let token = token(i64::try_from(life).unwrap(), expires_at);
        let after = token.renew_at(&pod).duration_since(issued).as_secs();
        assert!((due - 10..=due).contains(&after), "{life}: {after}");
        assert!(!token.is_expired(expires_at - Duration::from_secs(1)));
        assert!(token.is_expired(expires_at));
    }
}

#[test]
fn request_is_bound_to_the_pod() {
    let wanted = TokenKey { audience: Some("vault".to_owned()), expiration_seconds: 600 };
    let spec = token_request(&pod(json!({})), &wanted).spec.unwrap();
    assert_eq!(spec.audiences, Some(vec!["vault".to_owned()]));
    assert_eq!(spec.expiration_seconds, Some(600));
    let bound = spec.bound_object_ref.unwrap();
    assert_eq!(bound.kind.as_deref(), Some("Pod"));
    assert_eq!(bound.name.as_deref(), Some("web-0"));
    assert_eq!(bound.uid.as_deref(), Some("uid-1"));
    assert_eq!(token_request(&pod(json!({})), &key(600)).spec.unwrap().audiences, None);
}

#[test]
fn answer_without_a_token_is_an_error() {
    let answer = token_request(&pod(json!({})), &key(600));
    assert_eq!(read_token(answer, &key(600)), Err(TokenError::Empty));
}

#[test]
fn debug_output_shows_no_token() {
    let text = format!("{:?}", token(600, Timestamp::UNIX_EPOCH));
    assert_eq!(text, "Token { expires_at: 1970-01-01T00:00:00Z, .. }");
}

#[test]
fn token_on_disk_is_read_back_for_its_pod_only() {
    let text = |claims: serde_json::Value| {
        format!("head.{}.signature", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let issued: i64 = 1_767_312_000;
    let claims = |uid: &str, warn_after: Option<i64>| {
        json!({"aud": ["x"], "iat": issued, "exp": issued + 31_536_000, "kubernetes.io": {
            "namespace": "ns", "pod": {"name": "web-0", "uid": uid}, "warnafter": warn_after}})
    };
    let pod = pod(json!({}));
    // warnafter, life in seconds
    for (warn_after, life) in [(Some(issued + 3607), 3607), (None, 31_536_000)] {
        let text = text(claims("uid-1", warn_after));
        let token = Token::read_back(&text, &pod).unwrap();
        assert_eq!(token.value(), text);
        assert_eq!(token.expires_at, Timestamp::from_second(issued + life).unwrap());
        assert_eq!(token.lifetime.as_secs(), u64::try_from(life).unwrap());
    }
    for bad in [
        text(claims("uid-2", None)),
        text(json!({"iat": issued, "exp": issued + 600})),
        "no-token".to_owned(),
        "a.b.c".to_owned(),
        String::new(),
    ] {
        assert_eq!(Token::read_back(&bad, &pod), None, "{bad}");
    }
}

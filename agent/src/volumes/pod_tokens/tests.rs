use super::*;
use crate::boundary::ApiError;
use crate::podexec::fixtures::pod;
use crate::volumes::token::{read_token, token_request};
use k8s_openapi::api::authentication::v1::TokenRequestStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

fn key() -> TokenKey {
    TokenKey { audience: None, expiration_seconds: 600 }
}

fn start() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().unwrap()
}

fn at(second: u64) -> Timestamp {
    start() + Duration::from_secs(second)
}

/// A token of ten minutes, issued at that second.
fn token(issued: u64) -> Token {
    let mut answer = token_request(&pod(json!({})), &key());
    answer.status = Some(TokenRequestStatus {
        token: Some(format!("token-{issued}")),
        expiration_timestamp: Some(Time(at(issued + 600))),
    });
    read_token(answer, &key()).unwrap()
}

fn down() -> TokenError {
    TokenError::Request(ApiError::Unavailable("down".to_owned()))
}

#[test]
fn token_serves_until_it_is_to_be_renewed() {
    let pod = pod(json!({}));
    let mut tokens = PodTokens::default();
    assert_eq!(tokens.serving(&key(), &pod, at(0)), None);
    assert_eq!(tokens.due(&pod, at(0)), None);
    assert_eq!(tokens.settle(&key(), Ok(token(0)), &pod, at(0)), Settled::Renewed);
    assert_eq!(tokens.serving(&key(), &pod, at(469)), Some(&token(0)));
    assert_eq!(tokens.serving(&key(), &pod, at(480)), None);
    let due = tokens.due(&pod, at(100)).unwrap();
    assert!(at(470) <= due && due <= at(480), "{due}");
}

#[test]
fn old_token_serves_while_renewals_fail_ever_more_rarely() {
    let pod = pod(json!({}));
    let mut tokens = PodTokens::default();
    tokens.settle(&key(), Ok(token(0)), &pod, at(0));
    let mut now = tokens.due(&pod, at(100)).unwrap();
    let mut waits = Vec::new();
    for number in 0..4 {
        let settled = tokens.settle(&key(), Err(down()), &pod, now);
        assert_eq!(settled, Settled::Kept { error: down(), first: number == 0 });
        assert_eq!(tokens.serving(&key(), &pod, now), Some(&token(0)));
        let next = tokens.due(&pod, now).unwrap();
        waits.push(next.duration_since(now).as_secs());
        now = next;
    }
    for (wait, least) in waits.iter().zip([5, 10, 20, 40]) {
        assert!(least <= *wait && *wait <= least * 3 / 2, "{waits:?}");
    }
    assert_eq!(tokens.settle(&key(), Ok(token(560)), &pod, now), Settled::Renewed);
    assert_eq!(tokens.serving(&key(), &pod, at(600)), Some(&token(560)));
}

#[test]
fn expired_token_is_no_answer() {
    let pod = pod(json!({}));
    let mut tokens = PodTokens::default();
    tokens.settle(&key(), Ok(token(0)), &pod, at(0));
    assert_eq!(tokens.serving(&key(), &pod, at(600)), None);
    let settled = tokens.settle(&key(), Err(down()), &pod, at(600));
    assert_eq!(settled, Settled::Failed(TokenError::Expired(Box::new(down()))));
    assert_eq!(tokens.serving(&key(), &pod, at(601)), None);
    assert!(tokens.due(&pod, at(600)).unwrap() >= at(605));
}

#[test]
fn first_request_that_fails_leaves_nothing() {
    let pod = pod(json!({}));
    let mut tokens = PodTokens::default();
    let settled = tokens.settle(&key(), Err(down()), &pod, at(0));
    assert_eq!(settled, Settled::Failed(down()));
    assert_eq!(tokens.get(&key()), None);
    assert_eq!(tokens.due(&pod, at(0)), None);
}

#[test]
fn token_found_on_disk_does_not_replace_a_newer_one() {
    let pod = pod(json!({}));
    let mut tokens = PodTokens::default();
    tokens.adopt(key(), token(0));
    assert_eq!(tokens.serving(&key(), &pod, at(10)), Some(&token(0)));
    tokens.settle(&key(), Ok(token(500)), &pod, at(500));
    tokens.adopt(key(), token(0));
    assert_eq!(tokens.get(&key()), Some(&token(500)));
}

#[test]
fn clock_that_is_ahead_asks_once_a_minute() {
    let pod = pod(json!({}));
    let mut tokens = PodTokens::default();
    // By this clock each token has expired an hour before it comes.
    for minute in 0..3 {
        let now = at(4200 + minute * 60);
        assert_eq!(tokens.serving(&key(), &pod, now), None);
        tokens.settle(&key(), Ok(token(minute * 60)), &pod, now);
        let just_before = now + Duration::from_secs(59);
        assert_eq!(tokens.serving(&key(), &pod, just_before), Some(&token(minute * 60)));
        assert_eq!(tokens.due(&pod, now), Some(now + Duration::from_secs(60)));
    }
}

#[test]
fn clock_that_is_set_back_does_not_keep_a_token_for_too_long() {
    let pod = pod(json!({}));
    let mut tokens = PodTokens::default();
    tokens.settle(&key(), Ok(token(0)), &pod, at(7200));
    assert_eq!(tokens.serving(&key(), &pod, at(10)), Some(&token(0)));
    assert!(tokens.due(&pod, at(10)).unwrap() <= at(480));
    assert_eq!(tokens.serving(&key(), &pod, at(480)), None);
}

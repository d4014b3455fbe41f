//! The API server's word on tokens and on access, asked again while it is away for a moment.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec};

use super::review_cache::{Key, ReviewCache, ReviewError};
use super::route::Caller;
use crate::boundary::{ApiError, AuthnApi, BearerToken};

#[cfg(test)]
mod tests;

/// First pause before a question is put again, half as much longer each time, and how often it is
/// put in all (v1.36, without its jitter: a node asks alone).
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 5;
/// Length of the attributes together from which an answer is not kept (v1.36).
const LONGEST_KEPT: usize = 10_000;

/// Whom tokens stand for.
pub struct TokenReviews {
    api: Arc<dyn AuthnApi>,
    ttl: Duration,
    cache: ReviewCache<Option<Caller>>,
    /// Keys of the cache are made with it, so that they tell nothing of the tokens.
    secret: hmac::Key,
}

impl TokenReviews {
    /// Answers, also that a token is nobody's, count for `ttl`.
    pub fn new(api: Arc<dyn AuthnApi>, ttl: Duration) -> Self {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("the system's random numbers are there once a process has started");
        Self { api, ttl, cache: ReviewCache::default(), secret }
    }

    /// Whom the token stands for; `None` when for nobody.
    pub async fn review(&self, token: &BearerToken) -> Result<Option<Caller>, ReviewError> {
        let tag = hmac::sign(&self.secret, token.expose().as_bytes());
        let mut key = Key::default();
        key.copy_from_slice(tag.as_ref());
        let (api, token, ttl) = (Arc::clone(&self.api), token.clone(), self.ttl);
        let ask = move || async move {
            let status = persist(|| api.review_token(&token)).await?;
            if status.authenticated != Some(true) {
                // An error of the reviewer is no verdict on the token.
                return match status.error.filter(|error| !error.is_empty()) {
                    Some(error) => Err(ReviewError(error.into())),
                    None => Ok((None, ttl)),
                };
            }
            let user = status.user.unwrap_or_default();
            let caller = Caller {
                user: user.username.unwrap_or_default(),
                uid: user.uid.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default().into_iter().collect(),
            };
            Ok((Some(caller), ttl))
        };
        self.cache.get(key, ask).await
    }
}

/// What is asked about one caller.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub caller: &'a Caller,
    /// Empty when the method has none.
    pub verb: &'a str,
    pub node_name: &'a str,
    pub subresource: &'a str,
}

/// What callers may do.
pub struct AccessReviews {
    api: Arc<dyn AuthnApi>,
    authorized_ttl: Duration,
    unauthorized_ttl: Duration,
    cache: ReviewCache<bool>,
}

impl AccessReviews {
    /// A yes counts for the first time, a no for the second.
    pub fn new(
        api: Arc<dyn AuthnApi>,
        (authorized_ttl, unauthorized_ttl): (Duration, Duration),
    ) -> Self {
        Self { api, authorized_ttl, unauthorized_ttl, cache: ReviewCache::default() }
    }

    /// Whether it is allowed.
    pub async fn review(&self, question: Question<'_>) -> Result<bool, ReviewError> {
        let spec = spec(question);
        let text =
            serde_json::to_vec(&spec).map_err(|error| ReviewError(error.to_string().into()))?;
        let mut key = Key::default();
        key.copy_from_slice(digest(&SHA256, &text).as_ref());
        let kept = text.len() < LONGEST_KEPT;
        let ttls =
            if kept { (self.authorized_ttl, self.unauthorized_ttl) } else { Default::default() };
        let api = Arc::clone(&self.api);
        let ask = move || async move {
            let status = persist(|| api.review_access(&spec)).await?;
            match (status.allowed, status.denied.unwrap_or(false)) {
                (true, true) => Err(ReviewError("the answer both allows and denies".into())),
                (true, false) => Ok((true, ttls.0)),
                (false, _) => Ok((false, ttls.1)),
            }
        };
        self.cache.get(key, ask).await
    }
}

/// Pure: a node's subresource, as the kubelet asks for it.
fn spec(question: Question<'_>) -> SubjectAccessReviewSpec {
    let Question { caller, verb, node_name, subresource } = question;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let extra: BTreeMap<_, _> = caller.extra.iter().cloned().collect();
    SubjectAccessReviewSpec {
        user: text(&caller.user),
        uid: text(&caller.uid),
        groups: (!caller.groups.is_empty()).then(|| caller.groups.clone()),
        extra: (!extra.is_empty()).then_some(extra),
        resource_attributes: Some(ResourceAttributes {
            verb: text(verb),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: text(subresource),
            name: text(node_name),
            ..ResourceAttributes::default()
        }),
        non_resource_attributes: None,
    }
}

/// Puts a question until there is an answer or a refusal.
async fn persist<T, F>(ask: impl Fn() -> F) -> Result<T, ReviewError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(ApiError::Unavailable(_)) if attempt < ATTEMPTS => {
                tokio::time::sleep(pause).await;
                pause = pause * 3 / 2;
            }
            Err(error) => return Err(ReviewError(error.to_string().into())),
        }
    }
    unreachable!("the last attempt returns")
}

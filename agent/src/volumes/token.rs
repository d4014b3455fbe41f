//! Pure. Service account tokens of a pod: what to ask for, and when to ask again.
//! Source: kubelet v1.36 `token/token_manager.go`. Unlike there, a token that an earlier noded
//! wrote and that is not due is used on, so that a restart neither rewrites the files of every pod
//! nor needs the API server.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use serde::Deserialize;

use crate::boundary::ApiError;
use crate::model::Pod;

/// A token is never used longer than this, whatever its own life (kubelet v1.36).
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Spread of the renewals of many pods (kubelet v1.36).
pub(super) const MAX_JITTER_SECONDS: u64 = 10;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("failed to fetch token")]
    Request(#[source] ApiError),
    #[error("the API server answered a token request without a token")]
    Empty,
    #[error("token expired and refresh failed")]
    Expired(#[source] Box<TokenError>),
}

/// Which token of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenKey {
    /// `None` is the API server itself.
    pub audience: Option<String>,
    pub expiration_seconds: i64,
}

/// A token and the span it was issued for. Debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    value: String,
    expires_at: Timestamp,
    lifetime: Duration,
}

impl Token {
    pub fn value(&self) -> &str {
        &self.value
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// When to fetch a new one: after 80 % of its life or 24 hours, whichever is first, up to 10 s
    /// earlier by the pod's share of the jitter.
    pub fn renew_at(&self, pod: &Pod) -> Timestamp {
        let issued_at = self.expires_at - self.lifetime;
        let late = self.expires_at - self.lifetime / 5;
        late.min(issued_at + MAX_AGE) - Duration::from_secs(jitter_seconds(pod))
    }

    /// The token in a file that noded wrote for the pod; `None` when the text is no token of this
    /// pod. Its signature is the API server's business.
    pub fn read_back(text: &str, pod: &Pod) -> Option<Self> {
        let claims = BASE64_URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        if claims.bound.pod.uid != pod.uid().as_str() {
            return None;
        }
        let ends = claims.bound.warn_after.unwrap_or(claims.exp);
        Some(Self {
            value: text.to_owned(),
            expires_at: Timestamp::from_second(ends).ok()?,
            lifetime: Duration::from_secs(u64::try_from(ends.checked_sub(claims.iat)?).ok()?),
        })
    }
}

/// Claims of a service account token, as the API server writes them (v1.36).
#[derive(Deserialize)]
struct Claims {
    exp: i64,
    iat: i64,
    #[serde(rename = "kubernetes.io")]
    bound: BoundClaims,
}

#[derive(Deserialize)]
struct BoundClaims {
    pod: PodClaim,
    /// When a token ends that the API server made to last longer, for programs that do not read it
    /// again; whoever renews tokens goes by this.
    #[serde(rename = "warnafter")]
    warn_after: Option<i64>,
}

#[derive(Deserialize)]
struct PodClaim {
    uid: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Up to [`MAX_JITTER_SECONDS`], always the same for one pod, spread evenly over pods.
pub(super) fn jitter_seconds(pod: &Pod) -> u64 {
    let sum = pod
        .uid()
        .as_str()
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    sum % (MAX_JITTER_SECONDS + 1)
}

/// The request for a token that is bound to the pod: it stops to hold when the pod is deleted.
pub fn token_request(pod: &Pod, key: &TokenKey) -> TokenRequest {
    TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: key.audience.clone().map(|audience| vec![audience]),
            expiration_seconds: Some(key.expiration_seconds),
            bound_object_ref: Some(pod.token_binding()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The token in an answer. The API server may have changed the life it was asked for.
pub fn read_token(answer: TokenRequest, key: &TokenKey) -> Result<Token, TokenError> {
    let status = answer.status.ok_or(TokenError::Empty)?;
    let value = status.token.filter(|token| !token.is_empty()).ok_or(TokenError::Empty)?;
    let expires_at = status.expiration_timestamp.ok_or(TokenError::Empty)?.0;
    let seconds = answer.spec.and_then(|spec| spec.expiration_seconds);
    let seconds = u64::try_from(seconds.unwrap_or(key.expiration_seconds)).unwrap_or(0);
    Ok(Token { value, expires_at, lifetime: Duration::from_secs(seconds) })
}

#[cfg(test)]
mod tests;

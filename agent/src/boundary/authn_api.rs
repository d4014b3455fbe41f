//! Asking the API server who a caller is and what he may do.

use std::fmt;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use k8s_openapi::api::authorization::v1::{SubjectAccessReviewSpec, SubjectAccessReviewStatus};

use super::ApiError;

/// The token of a caller. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token itself, for the review and for a digest of it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

/// Reviews, as any node may ask for them.
#[async_trait]
pub trait AuthnApi: Send + Sync {
    /// Whom the token stands for, for the API server's own audience.
    async fn review_token(&self, token: &BearerToken) -> Result<TokenReviewStatus, ApiError>;
    /// Whether what `access` describes is allowed.
    async fn review_access(
        &self,
        access: &SubjectAccessReviewSpec,
    ) -> Result<SubjectAccessReviewStatus, ApiError>;
}

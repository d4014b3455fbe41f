//! Reviews of tokens and of access.

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::authorization::v1::{
    SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::Resource;
use kube::api::{PostParams, Request};

use super::KubeApi;
use super::pods::encode;
use crate::boundary::{ApiError, AuthnApi, BearerToken};

#[async_trait]
impl AuthnApi for KubeApi {
    async fn review_token(&self, token: &BearerToken) -> Result<TokenReviewStatus, ApiError> {
        let subject = "token review";
        let spec = TokenReviewSpec { token: token.expose().to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let requests = Request::new(TokenReview::url_path(&(), None));
        let request = requests.create(&PostParams::default(), encode(subject, &review)?);
        let answer: TokenReview = self.connections.call(subject, request).await?;
        Ok(answer.status.unwrap_or_default())
    }

    async fn review_access(
        &self,
        access: &SubjectAccessReviewSpec,
    ) -> Result<SubjectAccessReviewStatus, ApiError> {
        let subject = "subject access review";
        let review = SubjectAccessReview { spec: access.clone(), ..SubjectAccessReview::default() };
        let requests = Request::new(SubjectAccessReview::url_path(&(), None));
        let request = requests.create(&PostParams::default(), encode(subject, &review)?);
        let answer: SubjectAccessReview = self.connections.call(subject, request).await?;
        Ok(answer.status.unwrap_or_default())
    }
}

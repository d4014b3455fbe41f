//! Reviews from memory.
//!
//! State: whom tokens stand for, and what is granted to whom; everything else is refused. Call log:
//! `calls()`. Errors: `fail(error)`, for every call until `mend()`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{SubjectAccessReviewSpec, SubjectAccessReviewStatus};

use crate::boundary::{ApiError, AuthnApi, BearerToken};

#[derive(Default)]
struct State {
    tokens: BTreeMap<String, UserInfo>,
    /// User, verb, subresource; a verb of `*` grants them all, also none.
    grants: BTreeSet<(String, String, String)>,
    calls: Vec<String>,
    failure: Option<ApiError>,
}

#[derive(Default)]
pub struct FakeAuthn(Mutex<State>);

impl FakeAuthn {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds this lock")
    }

    pub fn token(&self, token: &str, user: &str, groups: &[&str]) {
        let user = UserInfo {
            username: Some(user.to_owned()),
            groups: Some(groups.iter().map(|group| (*group).to_owned()).collect()),
            ..UserInfo::default()
        };
        self.state().tokens.insert(token.to_owned(), user);
    }

    pub fn grant(&self, user: &str, verb: &str, subresource: &str) {
        let grant = [user, verb, subresource].map(str::to_owned);
        self.state().grants.insert(grant.into());
    }

    pub fn revoke_all(&self) {
        self.state().grants.clear();
    }

    /// `token`, or `user verb subresource`, of each call so far.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub fn fail(&self, error: ApiError) {
        self.state().failure = Some(error);
    }

    pub fn mend(&self) {
        self.state().failure = None;
    }
}

#[async_trait]
impl AuthnApi for FakeAuthn {
    async fn review_token(&self, token: &BearerToken) -> Result<TokenReviewStatus, ApiError> {
        let mut state = self.state();
        state.calls.push("token".to_owned());
        if let Some(error) = state.failure.clone() {
            return Err(error);
        }
        let user = state.tokens.get(token.expose()).cloned();
        let authenticated = Some(user.is_some());
        Ok(TokenReviewStatus { authenticated, user, ..TokenReviewStatus::default() })
    }

    async fn review_access(
        &self,
        access: &SubjectAccessReviewSpec,
    ) -> Result<SubjectAccessReviewStatus, ApiError> {
        let mut state = self.state();
        let asked = access.resource_attributes.clone().unwrap_or_default();
        assert_eq!(asked.resource.as_deref(), Some("nodes"));
        assert_eq!(asked.version.as_deref(), Some("v1"));
        let user = access.user.clone().unwrap_or_default();
        let verb = asked.verb.unwrap_or_default();
        let subresource = asked.subresource.unwrap_or_default();
        state.calls.push(format!("{user} {verb} {subresource}"));
        if let Some(error) = state.failure.clone() {
            return Err(error);
        }
        let is_granted = |verb: &str| {
            state.grants.contains(&(user.clone(), verb.to_owned(), subresource.clone()))
        };
        let allowed = is_granted(&verb) || is_granted("*");
        Ok(SubjectAccessReviewStatus { allowed, ..SubjectAccessReviewStatus::default() })
    }
}

//! Certificate signing requests in memory.
//!
//! State: the requests and what the decider of `FakeCsrs::new` makes of them, asked at each look.
//! Call log: `calls()`. Queued errors: `fail_next(error)`, for whichever call comes next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestStatus,
};

use crate::boundary::{ApiError, CsrApi};

/// State of a request at its look number so-and-so, counted from 1; `None` is undecided.
type Decide = Box<dyn FnMut(&CertificateSigningRequest, usize) -> Option<serde_json::Value> + Send>;

#[derive(Default)]
struct State {
    requests: BTreeMap<String, CertificateSigningRequest>,
    looks: usize,
    calls: Vec<String>,
    failures: VecDeque<ApiError>,
}

pub struct FakeCsrs {
    state: Mutex<State>,
    decide: Mutex<Decide>,
}

impl FakeCsrs {
    /// `decide` gives the JSON of a request's status.
    pub fn new(
        decide: impl FnMut(&CertificateSigningRequest, usize) -> Option<serde_json::Value>
        + Send
        + 'static,
    ) -> Self {
        Self { state: Mutex::default(), decide: Mutex::new(Box::new(decide)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this lock")
    }

    fn called(&self, call: &str) -> Result<(), ApiError> {
        let mut state = self.state();
        state.calls.push(call.to_owned());
        state.failures.pop_front().map_or(Ok(()), Err)
    }

    /// Names of the calls so far.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub fn fail_next(&self, error: ApiError) {
        self.state().failures.push_back(error);
    }

    pub fn put(&self, request: CertificateSigningRequest) {
        let name = request.metadata.name.clone().unwrap_or_default();
        self.state().requests.insert(name, request);
    }

    pub fn names(&self) -> Vec<String> {
        self.state().requests.keys().cloned().collect()
    }
}

#[async_trait]
impl CsrApi for FakeCsrs {
    async fn create_csr(
        &self,
        csr: &CertificateSigningRequest,
    ) -> Result<CertificateSigningRequest, ApiError> {
        self.called("create")?;
        let name = csr.metadata.name.clone().unwrap_or_default();
        if self.state().requests.contains_key(&name) {
            return Err(ApiError::AlreadyExists(name));
        }
        self.put(csr.clone());
        Ok(csr.clone())
    }

    async fn get_csr(&self, name: &str) -> Result<CertificateSigningRequest, ApiError> {
        self.called("get")?;
        let mut state = self.state();
        state.looks += 1;
        let looks = state.looks;
        let request =
            state.requests.get_mut(name).ok_or_else(|| ApiError::NotFound(name.to_owned()))?;
        let mut decide = self.decide.lock().expect("no decider panics twice");
        if let Some(status) = decide(request, looks) {
            let status: CertificateSigningRequestStatus =
                serde_json::from_value(status).map_err(|e| ApiError::Invalid(e.to_string()))?;
            request.status = Some(status);
        }
        Ok(request.clone())
    }
}

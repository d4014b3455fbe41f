//! Pods on the network, in memory.
//!
//! State: one standing answer for each kind of call, set with `set_http`, `set_tcp` and `set_grpc`;
//! at first everything answers well. Call log: `calls()`, one line per call, and `http_calls()`
//! whole. Queued errors: `fail_next(error)`, for whichever call comes next. Late answers:
//! `set_delay`; a delay longer than the call's timeout makes it time out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use crate::boundary::{DialError, Dialer, GrpcHealth, HttpAnswer, HttpCall, HttpScheme};

struct State {
    http: Result<HttpAnswer, DialError>,
    tcp: Result<(), DialError>,
    grpc: Result<GrpcHealth, DialError>,
    delay: Duration,
    failures: VecDeque<DialError>,
    calls: Vec<String>,
    http_calls: Vec<HttpCall>,
}

/// Clones share the state.
#[derive(Clone)]
pub struct FakeDialer {
    state: Arc<Mutex<State>>,
}

impl Default for FakeDialer {
    fn default() -> Self {
        let state = State {
            http: Ok(answer(200, "")),
            tcp: Ok(()),
            grpc: Ok(GrpcHealth::Serving),
            delay: Duration::ZERO,
            failures: VecDeque::new(),
            calls: Vec::new(),
            http_calls: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

/// An answer with this status and body.
pub fn answer(status: u16, body: &str) -> HttpAnswer {
    HttpAnswer { status, body: body.as_bytes().to_vec(), left_for: None }
}

impl FakeDialer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this lock")
    }

    pub fn set_http(&self, answer: Result<HttpAnswer, DialError>) {
        self.state().http = answer;
    }

    pub fn set_tcp(&self, answer: Result<(), DialError>) {
        self.state().tcp = answer;
    }

    pub fn set_grpc(&self, answer: Result<GrpcHealth, DialError>) {
        self.state().grpc = answer;
    }

    /// From now on every answer takes this long.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// The next call fails; further errors are queued behind it.
    pub fn fail_next(&self, error: DialError) {
        self.state().failures.push_back(error);
    }

    /// `http http://10.0.0.7:80/path`, `tcp 10.0.0.7:80`, `grpc 10.0.0.7:80 service`.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub fn http_calls(&self) -> Vec<HttpCall> {
        self.state().http_calls.clone()
    }

    async fn take<T>(
        &self,
        call: String,
        timeout: Duration,
        standing: impl FnOnce(&State) -> Result<T, DialError>,
    ) -> Result<T, DialError> {
        let delay = {
            let mut state = self.state();
            state.calls.push(call);
            state.delay
        };
        if delay >= timeout {
            tokio::time::sleep(timeout).await;
            return Err(DialError::TimedOut("i/o timeout".to_owned()));
        }
        tokio::time::sleep(delay).await;
        let mut state = self.state();
        match state.failures.pop_front() {
            Some(error) => Err(error),
            None => standing(&state),
        }
    }
}

#[async_trait]
impl Dialer for FakeDialer {
    async fn http(&self, call: &HttpCall, timeout: Duration) -> Result<HttpAnswer, DialError> {
        self.state().http_calls.push(call.clone());
        let scheme = match call.scheme {
            HttpScheme::Http => "http",
            HttpScheme::Https => "https",
        };
        let line = format!("http {scheme}://{}:{}{}", call.host, call.port, call.path);
        self.take(line, timeout, |state| state.http.clone()).await
    }

    async fn tcp(&self, host: &str, port: u16, timeout: Duration) -> Result<(), DialError> {
        self.take(format!("tcp {host}:{port}"), timeout, |state| state.tcp.clone()).await
    }

    async fn grpc_health(
        &self,
        host: &str,
        port: u16,
        service: &str,
        timeout: Duration,
    ) -> Result<GrpcHealth, DialError> {
        let line = format!("grpc {host}:{port} {service}");
        self.take(line, timeout, |state| state.grpc.clone()).await
    }
}

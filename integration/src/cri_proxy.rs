//! A proxy between an agent and its container runtime that makes chosen calls fail.
//!
//! It forwards every gRPC call as bytes, those of containerd's own services too, and keeps a log of
//! them. Each of the agent's connections has one of its own to the runtime and ends with it, so a
//! runtime that dies looks as it does without a proxy.
//!
//! Requests are read whole before they are forwarded: an agent streams none.

mod calls;
mod faults;
mod forward;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

pub use calls::{Call, Outcome, Subject};
pub use faults::{Fault, Hold, Moment, Target};

use calls::Calls;
use faults::Faults;

/// A running proxy. Dropping it ends it.
#[derive(Debug)]
pub struct CriProxy {
    socket: PathBuf,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for CriProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all connections share.
#[derive(Debug)]
struct State {
    runtime: PathBuf,
    calls: Mutex<Calls>,
    faults: Mutex<Faults>,
}

impl State {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CriProxy {
    /// Listens at `socket` and forwards to the socket `runtime`, which need not be there yet.
    pub fn start(socket: &Path, runtime: &Path) -> Result<Self> {
        if socket.exists() {
            fs::remove_file(socket)?;
        }
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen at {}", socket.display()))?;
        let state = Arc::new(State {
            runtime: runtime.to_owned(),
            calls: Mutex::default(),
            faults: Mutex::default(),
        });
        let task = tokio::spawn(forward::accept(listener, Arc::clone(&state)));
        Ok(Self { socket: socket.to_owned(), state, task })
    }

    /// Its socket as a CRI endpoint: `unix://PATH`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Lets the next `times` calls that fit `target` meet `fault`. Of several that fit a call, the
    /// first one injected is used.
    pub fn inject(&self, target: Target, fault: Fault, times: usize) {
        self.state.faults().inject(target, fault, times);
    }

    /// Stops the next call that fits `target` at that moment until the hold says what becomes of
    /// it. Holds come before faults.
    #[must_use]
    pub fn hold(&self, target: Target, moment: Moment) -> Hold {
        self.state.faults().hold(target, moment)
    }

    /// Takes back what was injected and did not happen; returns what it would have hit.
    #[must_use]
    pub fn take_unused(&self) -> Vec<String> {
        self.state.faults().take_unused()
    }

    /// All calls so far, in the order they came.
    #[must_use]
    pub fn log(&self) -> Vec<Call> {
        self.state.calls().log()
    }

    /// The calls about one pod, `NAMESPACE/NAME`, one a line, for an error message.
    #[must_use]
    pub fn transcript(&self, pod: &str) -> String {
        let calls = self.log().into_iter().filter(|call| call.subject.pod.as_deref() == Some(pod));
        calls.map(|call| call.to_string()).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests;

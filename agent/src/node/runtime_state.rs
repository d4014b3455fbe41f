//! Pure. What the runtime says of itself, as the Node's Ready condition tells it.
//!
//! Source: kubelet v1.36 `pkg/kubelet/runtime.go` and `pkg/kubelet/kubelet.go`
//! (`updateRuntimeUp`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::boundary::{LocalImage, RuntimeCondition, RuntimeStatus, RuntimeVersion};
use crate::model::RuntimeFeatures;

/// The runtime is down when it was not ready for this long (kubelet v1.36).
const DOWN_AFTER: Duration = Duration::from_secs(30);

/// The runtime's last answers, and what they mean now.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeReport {
    ready_at: Option<Timestamp>,
    /// No good answer yet, or none for too long.
    pub silence: Option<String>,
    /// The runtime says it is not ready.
    pub runtime_problem: Option<String>,
    /// The runtime says its network is not ready.
    pub network_problem: Option<String>,
    /// `None` until the runtime was ready for the first time.
    pub features: Option<RuntimeFeatures>,
    /// `None` until the runtime answered.
    pub version: Option<RuntimeVersion>,
    /// `None` until listed for the first time.
    pub images: Option<Arc<Vec<LocalImage>>>,
}

impl Default for RuntimeReport {
    /// Nothing was asked yet.
    fn default() -> Self {
        Self {
            ready_at: None,
            silence: Some("container runtime status check may not have completed yet".to_owned()),
            runtime_problem: None,
            network_problem: Some("network state unknown".to_owned()),
            features: None,
            version: None,
            images: None,
        }
    }
}

impl RuntimeReport {
    /// The report after the runtime answered at `now`.
    #[must_use]
    pub fn answered(mut self, status: &RuntimeStatus, now: Timestamp) -> Self {
        self.network_problem = not_ready("container runtime network", "Network", &status.network);
        self.runtime_problem = not_ready("container runtime", "Runtime", &status.runtime);
        if self.runtime_problem.is_none() {
            self.ready_at = Some(now);
            self.features = Some(status.features.clone());
        }
        self.aged(now)
    }

    /// The report at `now` without a new answer: what was said last stands, until it is too old.
    #[must_use]
    pub fn aged(mut self, now: Timestamp) -> Self {
        if let Some(ready_at) = self.ready_at {
            let silent = now.duration_since(ready_at).unsigned_abs() >= DOWN_AFTER;
            self.silence = silent.then(|| "container runtime is down".to_owned());
        }
        self
    }

    /// The report while it is open which version answers next.
    #[must_use]
    pub fn without_version(self) -> Self {
        Self { version: None, ..self }
    }

    /// Why the node is not ready, in upstream's order; empty when it is. `pleg` is why the PLEG is
    /// not healthy.
    pub fn problems(&self, pleg: Option<&str>) -> Vec<String> {
        let pleg = pleg.map(|why| format!("PLEG is not healthy: {why}"));
        let network = self.network_problem.clone();
        [self.silence.clone(), pleg, self.runtime_problem.clone(), network]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Why no container can be run now; `None` when one can.
    pub fn blocking_problem(&self) -> Option<&str> {
        self.silence.as_deref().or(self.runtime_problem.as_deref())
    }
}

fn not_ready(subject: &str, name: &str, condition: &RuntimeCondition) -> Option<String> {
    (!condition.ready).then(|| {
        let RuntimeCondition { reason, message, .. } = condition;
        format!("{subject} not ready: {name}Ready=false reason:{reason} message:{message}")
    })
}

#[cfg(test)]
mod tests;

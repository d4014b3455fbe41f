//! Observations with sane defaults.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::build::at;
use crate::model::{ContainerId, Pod, RuntimePod};
use crate::podplan::{HeldBack, Holds, InFlight, Observation, PlanRules, Slow, Step};
use crate::podworker::{EndCause, Lifecycle};
use crate::prober::{ContainerProbes, ProbeResult};

/// `pod` syncing at second 100 with a working network, nothing in flight and nothing held.
pub fn observe(pod: &Pod, runtime: RuntimePod) -> ObservationBuilder {
    ObservationBuilder {
        observation: Observation {
            pod: Some(pod.clone()),
            lifecycle: Lifecycle::Syncing,
            runtime: Arc::new(runtime),
            previous: Arc::new(pod.api_status().cloned().unwrap_or_default()),
            in_flight: InFlight::default(),
            holds: Holds::default(),
            probes: Arc::default(),
            network_not_ready: None,
            rules: PlanRules::default(),
            now: at(100),
        },
    }
}

#[derive(Clone)]
pub struct ObservationBuilder {
    observation: Observation,
}

impl ObservationBuilder {
    pub fn now(mut self, second: i64) -> Self {
        self.observation.now = at(second);
        self
    }

    /// Terminating since second `since`.
    pub fn terminating(mut self, cause: EndCause, since: i64, grace: u64) -> Self {
        let grace = Duration::from_secs(grace);
        self.observation.lifecycle = Lifecycle::Terminating { cause, since: at(since), grace };
        self
    }

    pub fn without_spec(mut self) -> Self {
        self.observation.pod = None;
        self
    }

    pub fn in_flight(mut self, slow: Slow) -> Self {
        self.observation.in_flight.slow.insert(slow);
        self
    }

    pub fn stopping(mut self, id: &str, due: i64) -> Self {
        self.observation.in_flight.stopping.insert(ContainerId::from(id), at(due));
        self
    }

    /// The container's preStop hook runs; SIGKILL falls due at `due`.
    pub fn in_pre_stop(mut self, id: &str, due: i64) -> Self {
        self.observation.in_flight.pre_stop.insert(ContainerId::from(id), at(due));
        self
    }

    /// The container's preStop hook has ended.
    pub fn pre_stopped(mut self, id: &str, due: i64) -> Self {
        self.observation.holds.pre_stopped.insert(ContainerId::from(id), at(due));
        self
    }

    pub fn in_post_start(mut self, name: &str) -> Self {
        self.observation.in_flight.post_start.insert(name.to_owned());
        self
    }

    /// The instance was ended so that another follows it.
    pub fn replaced(mut self, id: &str) -> Self {
        self.observation.holds.replaced.insert(ContainerId::from(id));
        self
    }

    /// What the startup and liveness probes of an instance have found.
    pub fn probed(
        mut self,
        name: &str,
        id: &str,
        startup: Option<ProbeResult>,
        liveness: Option<ProbeResult>,
    ) -> Self {
        let found =
            ContainerProbes { id: ContainerId::from(id), startup, readiness: None, liveness };
        Arc::make_mut(&mut self.observation.probes).0.insert(name.to_owned(), found);
        self
    }

    pub fn start_failed(mut self, held: HeldBack) -> Self {
        self.observation.holds.starts.insert(held.name.clone(), held);
        self
    }

    pub fn rests(mut self, step: Step, until: Timestamp) -> Self {
        self.observation.holds.steps.insert(step, until);
        self
    }

    pub fn network_down(mut self, message: &str) -> Self {
        self.observation.network_not_ready = Some(message.to_owned());
        self
    }

    pub fn previous(mut self, status: api::PodStatus) -> Self {
        self.observation.previous = Arc::new(status);
        self
    }

    pub fn build(self) -> Observation {
        self.observation
    }
}

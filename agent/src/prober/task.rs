//! One probe of one container instance.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use tokio::sync::watch;
use tokio::time::Instant;

use super::action::{action, needs_address};
use super::attempt::{Outcome, attempt};
use super::schedule::{Begin, first_wait, is_too_early, next_due};
use super::settings::Settings;
use super::threshold::Tally;
use super::{PodProbes, ProbeContext, ProbeKind, ProbeResult};
use crate::boundary::ApiEvent;
use crate::events::{container_field_path, pod_reference};
use crate::metrics::{Answer, ProbeSeries};
use crate::model::{ContainerId, ContainerKind, Pod};
use crate::reason::event;

/// Attempts of a probe that cannot be made, one right after the other (kubelet v1.36,
/// `maxProbeRetries`).
const TRIES: u32 = 3;

pub(super) struct ProbeTask {
    pub context: Arc<ProbeContext>,
    pub pod: Pod,
    pub id: ContainerId,
    pub spec: api::Container,
    pub kind: ProbeKind,
    pub settings: Settings,
    pub started_at: Timestamp,
    pub results: watch::Sender<Arc<PodProbes>>,
    pub address: watch::Receiver<Option<IpAddr>>,
    pub series: Arc<ProbeSeries>,
}

impl ProbeTask {
    /// Probes until nothing the probe could find would matter any more: a startup probe until its
    /// first result, a liveness probe until it has failed, a readiness probe for ever.
    pub async fn run(mut self) {
        let mut due = Instant::now() + self.first_wait();
        if self.kind != ProbeKind::Startup {
            self.wait_for_start().await;
        }
        if needs_address(&self.spec, self.kind) {
            // The sender lives as long as this task, so there is no error.
            let _ = self.address.wait_for(Option::is_some).await;
        }
        due = due.max(Instant::now());
        let mut tally = Tally::default();
        loop {
            tokio::time::sleep_until(due).await;
            let is_too_early = is_too_early(self.kind, &self.settings, self.running_for());
            let began = Instant::now();
            let answer = self.probe().await;
            self.series.answered(counted(answer), began.elapsed());
            let answer = match answer {
                ProbeResult::Failure if is_too_early => ProbeResult::Unknown,
                answer => answer,
            };
            if let Some(result) = tally.count(answer, &self.settings) {
                self.publish(result);
                if self.is_final(result) {
                    return;
                }
            }
            due = next_due(due, Instant::now(), self.settings.period);
        }
    }

    fn first_wait(&self) -> Duration {
        let share = RandomState::new().hash_one((&self.id, self.kind)) % 1000;
        let begin = Begin {
            running_for: self.running_for(),
            noded_for: self.context.noded_started.elapsed(),
            share: f64::from(u32::try_from(share).unwrap_or(0)) / 1000.0,
        };
        first_wait(self.kind, &self.settings, &begin)
    }

    /// How long the container has been running; nothing by a clock that was set back.
    fn running_for(&self) -> Duration {
        let running = (self.context.clock)().duration_since(self.started_at);
        Duration::try_from(running).unwrap_or_default()
    }

    /// Returns once the instance counts as started.
    async fn wait_for_start(&self) {
        let has_started = |probes: &Arc<PodProbes>| {
            let mine = probes.0.get(&self.spec.name).filter(|mine| mine.id == self.id);
            mine.is_some_and(|mine| {
                mine.startup.is_none_or(|startup| startup == ProbeResult::Success)
            })
        };
        // The sender is in self, so there is no error.
        let _ = self.results.subscribe().wait_for(has_started).await;
    }

    fn is_final(&self, result: ProbeResult) -> bool {
        match self.kind {
            ProbeKind::Startup => true,
            ProbeKind::Liveness => result == ProbeResult::Failure,
            ProbeKind::Readiness => false,
        }
    }

    fn publish(&self, result: ProbeResult) {
        let news = self.results.send_if_modified(|probes| {
            let is_mine = |id: &ContainerId| *id == self.id;
            let known = probes.0.get(&self.spec.name).filter(|mine| is_mine(&mine.id));
            if known.is_none_or(|known| known.of_kind(self.kind) == Some(result)) {
                return false;
            }
            if let Some(mine) = Arc::make_mut(probes).0.get_mut(&self.spec.name) {
                mine.set(self.kind, result);
            }
            true
        });
        if news {
            let (pod, container) = (self.pod.full_name(), &self.spec.name);
            tracing::debug!(%pod, container, probe = self.kind.as_str(), ?result, "probe result");
        }
    }

    /// One probe, tried again at once when it cannot be made. `Unknown` says nothing about the
    /// container.
    async fn probe(&self) -> ProbeResult {
        let address = *self.address.borrow();
        let action = match action(&self.spec, self.kind, address) {
            Ok(action) => action,
            Err(error) => return self.tell(Outcome::Errored(error.to_string())),
        };
        let mut outcome = Outcome::Success;
        for _ in 0..TRIES {
            outcome = attempt(&self.context, &self.id, &action, self.settings.timeout).await;
            if !matches!(outcome, Outcome::Errored(_)) {
                break;
            }
        }
        self.tell(outcome)
    }

    fn tell(&self, outcome: Outcome) -> ProbeResult {
        let kind = self.kind.as_str();
        match outcome {
            Outcome::Success => ProbeResult::Success,
            Outcome::Warning(text) => {
                self.say(event::PROBE_WARNING, format!("{kind} probe warning: {text}"));
                ProbeResult::Success
            }
            Outcome::Failure(text) => {
                self.say(event::UNHEALTHY, format!("{kind} probe failed: {text}"));
                ProbeResult::Failure
            }
            Outcome::Errored(text) => {
                let text = format!("{kind} probe errored and resulted in unknown state: {text}");
                self.say(event::UNHEALTHY, text);
                ProbeResult::Unknown
            }
        }
    }

    fn say(&self, reason: &'static str, message: String) {
        let kind = self.pod.container(&self.spec.name).map_or(ContainerKind::Regular, |(k, _)| k);
        let path = container_field_path(kind, &self.spec.name);
        let object = pod_reference(&self.pod, Some(path));
        let at = (self.context.clock)();
        self.context.events.publish(ApiEvent { object, warning: true, reason, message, at });
    }
}

fn counted(answer: ProbeResult) -> Answer {
    match answer {
        ProbeResult::Success => Answer::Successful,
        ProbeResult::Failure => Answer::Failed,
        ProbeResult::Unknown => Answer::Unknown,
    }
}

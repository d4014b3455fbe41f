//! What a worker tells: statuses, events, its stage of life.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;

use super::{Note, Worker};
use crate::model::{Container, Pod};
use crate::podexec::{
    StartFailure, Trouble, back_off_event, network_event, network_text, sandbox_changed_event,
    steady, trouble_text,
};
use crate::podplan::{Observation, PodPlan, SandboxStep};
use crate::podworker::Demand;
use crate::reason;
use crate::status::{self, StatusInput};

impl Worker {
    /// Conditions that others write are taken as the API shows them.
    pub(super) fn adopt_foreign_conditions(&mut self) {
        let shown = self.wish.pod.as_ref().and_then(Pod::api_status);
        let Some(shown) = shown.and_then(|status| status.conditions.as_ref()) else { return };
        let is_foreign = |condition: &&api::PodCondition| !status::is_own(condition);
        let foreign: Vec<_> = shown.iter().filter(is_foreign).cloned().collect();
        let mine = self.previous.conditions.iter().flatten().filter(|c| !is_foreign(c)).cloned();
        let all: Vec<_> = mine.chain(foreign).collect();
        if self.previous.conditions.as_ref() != Some(&all) {
            Arc::make_mut(&mut self.previous).conditions = Some(all);
        }
    }

    pub(super) async fn note(&self) {
        tracing::debug!(pod = %self.full_name, stage = ?self.lifecycle, "pod is at stage");
        let note = Note { uid: self.uid.clone(), lifecycle: self.lifecycle.clone() };
        // The receiver is gone only when the process is ending.
        let _ = self.lines.notes.send(note).await;
    }

    pub(super) async fn publish(&mut self, observation: &Observation, plan: &PodPlan) {
        let vanished = matches!(self.wish.demand, Demand::Vanish { .. });
        let Some(pod) = self.wish.pod.clone().filter(|_| !self.settled && !vanished) else {
            return;
        };
        let host_ips = self.context.node.borrow().ips.clone();
        let status = status::generate(&StatusInput {
            pod: &pod,
            seen: observation,
            waiting: &plan.waiting,
            trouble: self.trouble(plan).as_deref(),
            host_ips: &host_ips,
        });
        self.measure_status(&pod, &status, observation.now);
        self.previous = Arc::new(status.clone());
        self.context.readiness.tell(&pod, &status);
        self.context.status.publish(&pod, status).await;
    }

    /// Why no container of the pod can be made now.
    fn trouble(&self, plan: &PodPlan) -> Option<String> {
        let network = plan.network_not_ready.as_deref().map(network_text);
        network.or_else(|| self.announced.troubles.values().next().cloned())
    }

    /// Takes note of what keeps all containers from being made. Logged when it is new.
    pub(super) fn note_trouble(&mut self, step: Trouble, message: &str) {
        let text = trouble_text(step, message);
        if self.announced.troubles.get(&step) != Some(&text) {
            tracing::warn!(pod = %self.full_name, message, "{}", step.as_str());
            self.announced.troubles.insert(step, text);
        }
    }

    /// Takes note of a failed start. Logged when it is new.
    pub(super) fn note_failed_start(&mut self, failure: &StartFailure) {
        let text = steady(&failure.message);
        let StartFailure { name, reason, message, .. } = failure;
        if self.announced.failures.get(name) != Some(&text) {
            tracing::warn!(pod = %self.full_name, container = name, reason, message, "cannot start the container");
            self.announced.failures.insert(name.clone(), text);
        }
    }

    pub(super) fn announce(&mut self, observation: &Observation, plan: &PodPlan) {
        let Some(pod) = self.wish.pod.clone() else { return };
        let now = observation.now;
        for held in plan.waiting.iter().filter(|h| h.reason == reason::CRASH_LOOP_BACK_OFF) {
            let Some(until) = held.until else { continue };
            if self.announced.back_offs.insert(held.name.clone(), until) != Some(until) {
                let last = observation.runtime.newest(&held.name).and_then(Container::exit);
                self.context.events.publish(back_off_event(&pod, held, last, now));
            }
        }
        if let SandboxStep::Create { attempt, .. } = plan.sandbox
            && attempt > self.announced.sandbox_attempt
        {
            self.announced.sandbox_attempt = attempt;
            self.context.events.publish(sandbox_changed_event(&pod, now));
        }
        if self.announced.network != plan.network_not_ready {
            if let Some(message) = &plan.network_not_ready {
                self.context.events.publish(network_event(&pod, message, now));
            }
            self.announced.network.clone_from(&plan.network_not_ready);
        }
    }

    pub(super) async fn say_farewell(&self) {
        self.context.readiness.forget(&self.uid);
        self.context.metrics.pods.starts.end(&self.uid);
        match (&self.wish.pod, &self.wish.demand) {
            (Some(pod), Demand::Delete { .. }) => self.context.status.finish(pod).await,
            _ => self.context.status.forget(&self.uid).await,
        }
    }
}

//! What child tasks report, and what follows from it for the next plan.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    ERROR_RETRY, LATE_LOOK, Objects, PULL_FAILURES, PULL_LOOK, SETTLE, VOLUME_RETRY_FIRST, Worker,
    later,
};
use crate::boundary::RuntimeError;
use crate::model::Pod;
use crate::podexec::{
    HookDone, StartFailure, StepReport, Trouble, hook_fallback_event, kill_failed_event,
    pre_stop_failed_event, steady, step_event, waiting_message,
};
use crate::podplan::{HeldBack, Step};
use crate::podworker::operations::{Done, HookEnd, Progress};
use crate::reason;
use crate::telemetry::Causes;

impl Worker {
    pub(super) fn take_progress(&mut self, progress: Progress) -> bool {
        match progress {
            Progress::Report(report) => {
                self.take_report(&report);
                false
            }
            Progress::Done(done) => {
                self.take_done(done);
                self.stale = true;
                self.late_look = None;
                true
            }
        }
    }

    pub(super) fn take_report(&mut self, report: &StepReport) {
        let now = (self.context.clock)();
        if let Some(event) = self.pod().and_then(|pod| step_event(pod, report, now)) {
            self.context.events.publish(event);
        }
        self.measure_report(report);
        match report {
            StepReport::SandboxMade => {
                self.announced.troubles.remove(&Trouble::Sandbox);
                self.rest(Step::Sandbox, SETTLE);
            }
            StepReport::SandboxFailed { message } => {
                self.note_trouble(Trouble::Sandbox, message);
                if self.objects == Objects::Same {
                    self.rest_after_error(Step::Sandbox);
                }
            }
            StepReport::VolumesFailed { message } => {
                self.note_trouble(Trouble::Volumes, message);
                let pause = VOLUME_RETRY_FIRST * 2_u32.saturating_pow(self.volume_failures);
                self.volume_failures = self.volume_failures.saturating_add(1).min(16);
                if self.objects == Objects::Same {
                    self.rest(Step::Volumes, pause.min(ERROR_RETRY));
                }
            }
            StepReport::Pulling { name, message } => self.show_pull(name, message.as_deref()),
            StepReport::Created { .. } => drop(self.announced.troubles.remove(&Trouble::Volumes)),
            StepReport::Started { name, .. } | StepReport::HookEnded { name, .. } => {
                self.operations.set_in_post_start(name, false);
                self.announced.failures.remove(name);
                self.volume_failures = 0;
                self.holds.starts.remove(name);
                if self.last_start.as_ref() != Some(name) {
                    self.late_look.get_or_insert_with(|| Instant::now() + LATE_LOOK);
                }
            }
            StepReport::HookRunning { name, .. } => self.operations.set_in_post_start(name, true),
            StepReport::HookFailed { id, failure } => {
                self.holds.hook_failed.insert(id.clone());
                // What follows is up to the restart policy and its back-off.
                self.hold_back(failure, None);
                self.stale = true;
                self.late_look = Some(Instant::now());
            }
            StepReport::StartFailed(failure) => {
                self.announced.troubles.remove(&Trouble::Volumes);
                self.note_failed_start(failure);
                self.hold_back(failure, self.retry_of(failure, now));
                self.late_look.get_or_insert_with(|| Instant::now() + LATE_LOOK);
            }
        }
    }

    /// Shows how far the pull of a container's images is, in the message of the reason that a
    /// container has anyway while it is being made.
    fn show_pull(&mut self, name: &str, message: Option<&str>) {
        let creating = [reason::CONTAINER_CREATING, reason::POD_INITIALIZING];
        let Some(message) = message else {
            // What comes next is a start or a failure, and either tells of itself.
            self.holds.starts.retain(|held, hold| held != name || !creating.contains(&hold.reason));
            return;
        };
        let has_init =
            |pod: &Pod| pod.spec().init_containers.as_ref().is_some_and(|init| !init.is_empty());
        let initializes = self.pod().is_some_and(has_init);
        let held = HeldBack {
            name: name.to_owned(),
            reason: creating[usize::from(initializes)],
            message: message.to_owned(),
            until: None,
        };
        self.holds.starts.insert(name.to_owned(), held);
        self.late_look.get_or_insert_with(|| Instant::now() + LATE_LOOK);
    }

    fn hold_back(&mut self, failure: &StartFailure, until: Option<Timestamp>) {
        let held = HeldBack {
            name: failure.name.clone(),
            reason: failure.reason,
            message: waiting_message(failure),
            until,
        };
        self.holds.starts.insert(failure.name.clone(), held);
    }

    /// When the container is tried again; `None` is at once.
    fn retry_of(&self, failure: &StartFailure, now: Timestamp) -> Option<Timestamp> {
        match failure.retry_at {
            Some(at) if PULL_FAILURES.contains(&failure.reason) => {
                Some(at.min(later(now, PULL_LOOK)))
            }
            Some(at) => Some(at),
            // What was missing may have come while the container was being made.
            None if failure.reason == reason::CREATE_CONTAINER_CONFIG_ERROR
                && self.objects == Objects::Changed =>
            {
                None
            }
            None => Some(later(now, self.jittered(ERROR_RETRY))),
        }
    }

    pub(super) fn take_done(&mut self, done: Done) {
        match done {
            Done::BringUp => {
                self.last_start = None;
                self.measure_bring_up();
            }
            Done::PreStop { id, name, kill_at, end } => {
                self.tell_hook_end(&name, &end);
                self.holds.pre_stopped.insert(id, kill_at);
            }
            Done::Stop { id, result } => {
                self.kill_result(result.as_ref().err());
                self.rest_after_error(Step::Stop(id));
            }
            Done::StopSandbox(result) => {
                self.kill_result(result.as_ref().err());
                self.rest_after(Step::StopSandbox, result.is_ok());
            }
            Done::Removal(result) => {
                if let Err(error) = &result {
                    tracing::warn!(pod = %self.full_name, %error, "cannot remove dead containers");
                }
                self.rest_after(Step::Removal, result.is_ok());
            }
            Done::Clearing { scope, result } => match result {
                Ok(()) => self.cleared = Some(scope),
                Err(error) => {
                    self.tell_not_cleared(&Causes(&error).to_string());
                    self.rest_after_error(Step::Clearing);
                }
            },
        }
    }

    /// A pod that waits for its end shows why; a cause that stays is counted up.
    fn tell_not_cleared(&self, cause: &str) {
        tracing::warn!(pod = %self.full_name, cause, "cannot clear the pod");
        if let Some(pod) = self.pod() {
            let event = kill_failed_event(pod, &steady(cause), (self.context.clock)());
            self.context.events.publish(event);
        }
    }

    fn tell_hook_end(&self, container: &str, end: &HookEnd) {
        let now = (self.context.clock)();
        match end {
            HookEnd::CutOff { slept: true } => self.context.metrics.containers.sleep_cut_short(),
            HookEnd::Done(HookDone { fell_back: Some(_) }) => {
                self.context.metrics.containers.hook_fell_back();
            }
            _ => {}
        }
        let event = match end {
            HookEnd::Done(HookDone { fell_back: None })
            | HookEnd::CutOff { slept: true }
            | HookEnd::ContainerGone => return,
            HookEnd::Done(HookDone { fell_back: Some(server) }) => {
                self.pod().map(|pod| hook_fallback_event(pod, server, now))
            }
            HookEnd::Failed(error) => {
                tracing::warn!(pod = %self.full_name, container, %error, "preStop hook failed");
                self.pod().map(|pod| pre_stop_failed_event(pod, container, now))
            }
            HookEnd::CutOff { slept: false } => {
                tracing::warn!(pod = %self.full_name, container, "preStop hook did not end in time");
                self.pod().map(|pod| pre_stop_failed_event(pod, container, now))
            }
        };
        if let Some(event) = event {
            self.context.events.publish(event);
        }
    }

    pub(super) fn kill_result(&self, error: Option<&RuntimeError>) {
        let Some(error) = error else { return };
        tracing::warn!(pod = %self.full_name, %error, "cannot end a part of the pod");
        if let Some(pod) = self.pod() {
            let event = kill_failed_event(pod, &error.to_string(), (self.context.clock)());
            self.context.events.publish(event);
        }
    }

    pub(super) fn rest(&mut self, step: Step, pause: Duration) {
        let until = later((self.context.clock)(), pause);
        self.holds.steps.insert(step, until);
    }

    pub(super) fn rest_after_error(&mut self, step: Step) {
        self.rest(step, self.jittered(ERROR_RETRY));
    }

    pub(super) fn rest_after(&mut self, step: Step, succeeded: bool) {
        match succeeded {
            true => self.rest(step, SETTLE),
            false => self.rest_after_error(step),
        }
    }
}

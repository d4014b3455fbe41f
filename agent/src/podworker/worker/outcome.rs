//! What child tasks report, and what follows from it for the next plan.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    ERROR_RETRY, LATE_LOOK, PULL_FAILURES, PULL_LOOK, SETTLE, VOLUME_RETRY_FIRST, Worker, later,
};
use crate::boundary::RuntimeError;
use crate::podexec::{StartFailure, StepReport, kill_failed_event, step_event};
use crate::podplan::{HeldBack, Step};
use crate::podworker::operations::{Done, Progress};

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
        match report {
            StepReport::SandboxMade => self.rest(Step::Sandbox, SETTLE),
            StepReport::SandboxFailed { message } => {
                tracing::warn!(pod = %self.full_name, message, "cannot make the pod's sandbox");
                self.rest_after_error(Step::Sandbox);
            }
            StepReport::VolumesFailed { message } => {
                tracing::warn!(pod = %self.full_name, message, "cannot mount the pod's volumes");
                let pause = VOLUME_RETRY_FIRST * 2_u32.saturating_pow(self.volume_failures);
                self.volume_failures = self.volume_failures.saturating_add(1).min(16);
                self.rest(Step::Volumes, pause.min(ERROR_RETRY));
            }
            StepReport::Created { .. } => {}
            StepReport::Started { name, .. } => {
                self.volume_failures = 0;
                self.holds.starts.remove(name);
                if self.last_start.as_ref() != Some(name) {
                    self.late_look.get_or_insert_with(|| Instant::now() + LATE_LOOK);
                }
            }
            StepReport::StartFailed(failure) => {
                let held = HeldBack {
                    name: failure.name.clone(),
                    reason: failure.reason,
                    message: failure.message.clone(),
                    until: Some(self.retry_of(failure, now)),
                };
                self.holds.starts.insert(failure.name.clone(), held);
                self.late_look.get_or_insert_with(|| Instant::now() + LATE_LOOK);
            }
        }
    }

    pub(super) fn retry_of(&self, failure: &StartFailure, now: Timestamp) -> Timestamp {
        match failure.retry_at {
            Some(at) if PULL_FAILURES.contains(&failure.reason) => at.min(later(now, PULL_LOOK)),
            Some(at) => at,
            None => later(now, self.jittered(ERROR_RETRY)),
        }
    }

    pub(super) fn take_done(&mut self, done: Done) {
        match done {
            Done::BringUp => self.last_start = None,
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
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(pod = %self.full_name, %error, cause, "cannot clear the pod");
                    self.rest_after_error(Step::Clearing);
                }
            },
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

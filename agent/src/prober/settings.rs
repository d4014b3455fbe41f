//! Pure. The figures of a probe.

use std::time::Duration;

use k8s_openapi::api::core::v1 as api;

use super::ProbeKind;

/// When and how often a probe runs and what it takes to change its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// From the container's start to the first probe.
    pub initial_delay: Duration,
    pub period: Duration,
    /// Of one attempt.
    pub timeout: Duration,
    pub success_threshold: u32,
    pub failure_threshold: u32,
}

impl Settings {
    /// The probe's own figures. What is absent or not positive has the API's default (v1): no
    /// initial delay, a period of 10 s, a timeout of 1 s, 1 success, 3 failures. The API server
    /// fills them in; the manifest of a static pod may lack them.
    pub fn of(probe: &api::Probe) -> Self {
        let positive = |value: Option<i32>, default: u32| {
            value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        let seconds = |value, default| Duration::from_secs(positive(value, default).into());
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success_threshold: positive(probe.success_threshold, 1),
            failure_threshold: positive(probe.failure_threshold, 3),
        }
    }
}

/// The probe of that kind in a container's spec.
pub(super) fn probe_of(container: &api::Container, kind: ProbeKind) -> Option<&api::Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
    }
}

#[cfg(test)]
mod tests;

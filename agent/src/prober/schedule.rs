//! Pure. When a probe runs.

use std::time::Duration;

use tokio::time::Instant;

use super::ProbeKind;
use super::settings::Settings;

/// What the first probe of an instance is timed by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    /// How long the container has been running.
    pub running_for: Duration,
    /// How long noded has been running.
    pub noded_for: Duration,
    /// A random share, from 0 to 1.
    pub share: f64,
}

/// How long the first probe waits: for what is left of the initial delay. A liveness probe without
/// one waits for a period, because no container answers in its first moment, and with a threshold
/// of one failure it would never get further. An instance that noded found running when it started
/// less than a period ago waits for a random part of its period too, so that a restart of noded does
/// not probe the whole node at once.
pub(super) fn first_wait(kind: ProbeKind, settings: &Settings, begin: &Begin) -> Duration {
    let delay = match kind {
        ProbeKind::Liveness if settings.initial_delay.is_zero() => settings.period,
        _ => settings.initial_delay,
    };
    let delay = delay.saturating_sub(begin.running_for);
    let was_found = begin.running_for > begin.noded_for;
    if was_found && begin.noded_for < settings.period {
        delay.max(settings.period.mul_f64(begin.share.clamp(0.0, 1.0)))
    } else {
        delay
    }
}

/// Whether a failure of a probe begun after the container has been running for so long is too early
/// to count: a startup probe without initial delay is asked at once, so that a quick container
/// starts quickly, and still leaves a slow one all periods of its failure threshold.
pub(super) fn is_too_early(kind: ProbeKind, settings: &Settings, running_for: Duration) -> bool {
    kind == ProbeKind::Startup && settings.initial_delay.is_zero() && running_for < settings.period
}

/// When the probe after the one that was due at `due` and has ended at `now` is due: a period
/// later, at once when that is past. Missed probes are not made up for.
pub(super) fn next_due(due: Instant, now: Instant, period: Duration) -> Instant {
    (due + period).max(now)
}

#[cfg(test)]
mod tests;

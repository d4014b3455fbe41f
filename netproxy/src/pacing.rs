//! Pure. When the next sync is due.

use std::time::Duration;

use tokio::time::Instant;

/// Time after which the live rules are compared again although nothing changed (kube-proxy,
/// v1.36).
const FULL_SYNC_PERIOD: Duration = Duration::from_secs(3600);
/// First wait after a failure, where the minimum between syncs is shorter.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How much longer than for a failed sync the wait for a refused service may grow: all others are
/// in place, and a try compares all live rules.
const REFUSED_RETRY_FACTOR: u32 = 10;

/// Decides when to sync: the first change after a quiet time at once, further ones not before
/// `min_interval` since the last start, failures with a growing delay up to `max_retry`.
#[derive(Clone, Debug)]
pub struct Pacer {
    min_interval: Duration,
    max_retry: Duration,
    waiting_since: Option<Instant>,
    last_start: Option<Instant>,
    last_full: Option<Instant>,
    failures: u32,
    /// When to try again what was refused, and how often it was refused in a row.
    refused: Option<(Instant, u32)>,
}

impl Pacer {
    /// A pacer that nothing was told to yet.
    pub const fn new(min_interval: Duration, max_retry: Duration) -> Self {
        Self {
            min_interval,
            max_retry,
            waiting_since: None,
            last_start: None,
            last_full: None,
            failures: 0,
            refused: None,
        }
    }

    /// Something changed.
    pub fn changed(&mut self, now: Instant) {
        let since = self.waiting_since.map_or(now, |since| since.min(now));
        self.waiting_since = Some(since);
    }

    /// Since when the oldest change waits.
    pub const fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// When to sync next; may be in the past. Nothing before the first change.
    pub fn next_run(&self) -> Option<Instant> {
        if self.failures > 0 {
            return Some(self.last_start? + self.retry_delay());
        }
        let earliest = self.last_start.map(|start| start + self.min_interval);
        let due = match self.waiting_since {
            Some(since) => Some(earliest.map_or(since, |earliest| earliest.max(since))),
            None => self.last_full.map(|last| last + FULL_SYNC_PERIOD),
        };
        let retry = self.refused.map(|(at, _)| at);
        due.into_iter().chain(retry).min()
    }

    /// Whether it is time to try again what was refused.
    pub fn refused_due(&self, now: Instant) -> bool {
        self.refused.is_some_and(|(at, _)| at <= now)
    }

    /// The last sync was done at `now`, and says whether it left something out that was refused.
    pub fn refused(&mut self, now: Instant, any: bool) {
        let before = self.refused;
        self.refused = any.then(|| match before {
            Some((at, times)) if now < at => (at, times),
            _ => {
                let times = before.map_or(0, |(_, times)| times.saturating_add(1));
                let delay = self.growing(times).min(self.max_retry * REFUSED_RETRY_FACTOR);
                (now + delay, times)
            }
        });
    }

    /// Whether the live rules have to be compared, not only changes written.
    pub fn full_due(&self, now: Instant) -> bool {
        self.last_full.is_none_or(|last| now >= last + FULL_SYNC_PERIOD)
    }

    /// A sync started at `start` put everything known then in place.
    pub fn succeeded(&mut self, start: Instant, full: bool) {
        self.last_start = Some(start);
        self.waiting_since = None;
        self.failures = 0;
        if full {
            self.last_full = Some(start);
        }
    }

    /// A sync started at `start` failed; what waited still waits.
    pub fn failed(&mut self, start: Instant) {
        self.last_start = Some(start);
        self.waiting_since.get_or_insert(start);
        self.failures = self.failures.saturating_add(1);
    }

    fn retry_delay(&self) -> Duration {
        self.growing(self.failures.saturating_sub(1)).min(self.max_retry.max(self.min_interval))
    }

    /// The first wait, doubled so many times.
    fn growing(&self, doublings: u32) -> Duration {
        self.min_interval.max(FIRST_RETRY).saturating_mul(1 << doublings.min(16))
    }
}

#[cfg(test)]
mod tests;

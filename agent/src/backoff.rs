//! Pure. Exponential back-off as a value.

use std::time::Duration;

use jiff::Timestamp;

/// How a wait grows: the first one, the cap, and when an entry is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffRule {
    pub first: Duration,
    pub cap: Duration,
    /// An entry not touched for this long starts anew.
    pub forget_after: Duration,
}

/// Crash loops and image pulls: 10 s doubling to 300 s, forgotten after 600 s (kubelet v1.36).
pub const CONTAINER_RULE: BackoffRule = BackoffRule {
    first: Duration::from_secs(10),
    cap: Duration::from_secs(300),
    forget_after: Duration::from_secs(600),
};

/// One key's back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    wait: Duration,
    touched: Timestamp,
}

impl Backoff {
    /// The wait after a first failure at `now`.
    pub fn begin(rule: &BackoffRule, now: Timestamp) -> Self {
        Self { wait: rule.first.min(rule.cap), touched: now }
    }

    /// The entry after a further failure at `now`: twice the wait up to the cap, or a first one
    /// when the entry was forgotten meanwhile.
    #[must_use]
    pub fn grown(self, rule: &BackoffRule, now: Timestamp) -> Self {
        if self.is_forgotten(rule, now) {
            return Self::begin(rule, now);
        }
        Self { wait: (self.wait * 2).min(rule.cap), touched: now }
    }

    pub fn is_forgotten(&self, rule: &BackoffRule, now: Timestamp) -> bool {
        now.duration_since(self.touched).unsigned_abs() > rule.forget_after && now > self.touched
    }

    /// The wait in force.
    pub fn wait(&self) -> Duration {
        self.wait
    }
}

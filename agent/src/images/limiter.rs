//! Pure. How many pulls may reach the registries: a token bucket.

use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// `registryPullQPS` and `registryBurst`.
#[derive(Debug)]
pub(super) struct PullLimiter {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl PullLimiter {
    /// Full at `now`. `None` when `per_second` is 0, which is no limit (kubelet v1.36).
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Option<Self> {
        let (rate, burst) = (f64::from(per_second), f64::from(burst));
        (per_second > 0).then_some(Self { per_second: rate, burst, tokens: burst, filled: now })
    }

    /// Takes a token if there is one at `now`.
    pub fn try_take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled = now;
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

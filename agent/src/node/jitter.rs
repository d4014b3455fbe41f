//! Spreads timers, so that a cluster's nodes do not all call at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// `interval` lengthened by up to `share` of itself, evenly distributed.
pub(super) fn lengthened(interval: Duration, share: f64) -> Duration {
    interval.mul_f64(1.0 + share * fraction())
}

/// `interval` shortened or lengthened by up to half of itself, evenly distributed.
pub(super) fn half_around(interval: Duration) -> Duration {
    interval.mul_f64(0.5 + fraction())
}

/// 0 or more and less than 1. The seeds of the standard library's hash maps are random enough for
/// a timer.
pub(crate) fn fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    #[expect(clippy::cast_precision_loss, reason = "the upper 53 bits fit a float exactly")]
    let fraction = (random >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests;

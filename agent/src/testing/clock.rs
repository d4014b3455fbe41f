//! A wall clock that goes with Tokio's paused one.

use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::build::at;
use crate::podworker::WallClock;

/// Shows second 1000 of the test day now, and goes on as Tokio's clock does.
pub fn paused_clock() -> WallClock {
    let start = Instant::now();
    Arc::new(move || {
        let passed = SignedDuration::try_from(start.elapsed()).unwrap();
        at(1000) + passed
    })
}

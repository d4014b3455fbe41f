//! Pure. How soon to mend what others changed, and when to speak of it.

use std::time::Duration;

use tokio::time::Instant;

/// A change this long after the last mend is one of its own, not a step in a fight.
const PEACE: Duration = Duration::from_secs(10);
/// Mends in a row that do not wait: a firewall that restarts changes rules more than once.
const PATIENCE: u32 = 4;
/// First wait after those; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How often users hear of changes while they go on.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Remembers when rules were mended. A change is mended at once. A program that changes them over
/// and over, such as a second proxy, is answered ever more slowly, so that neither the log nor the
/// machine suffers.
#[derive(Clone, Copy, Debug)]
pub struct Mending {
    longest_wait: Duration,
    last: Option<Instant>,
    /// Mends in a row.
    row: u32,
    told: Option<Instant>,
}

/// What to do about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mend {
    /// When to look at the live rules.
    pub at: Instant,
    /// Whether users should hear of it.
    pub tell: bool,
}

impl Mending {
    /// Nothing was mended yet; waits never grow beyond `longest_wait`.
    pub const fn new(longest_wait: Duration) -> Self {
        Self { longest_wait, last: None, row: 0, told: None }
    }

    /// Rules were changed by somebody else.
    pub fn noticed(&mut self, now: Instant) -> Mend {
        let fight = self.last.is_some_and(|last| now < last + PEACE + self.wait());
        self.row = if fight { self.row.saturating_add(1) } else { 1 };
        let at = self.last.map_or(now, |last| now.max(last + self.wait()));
        self.last = Some(at);
        let tell = self.told.is_none_or(|told| now >= told + TOLD_EVERY);
        if tell {
            self.told = Some(now);
        }
        Mend { at, tell }
    }

    /// The time between the last mend and the next one.
    fn wait(&self) -> Duration {
        match self.row.checked_sub(PATIENCE + 1) {
            None => Duration::ZERO,
            Some(further) => FIRST_WAIT
                .saturating_mul(1_u32.checked_shl(further).unwrap_or(u32::MAX))
                .min(self.longest_wait),
        }
    }
}

#[cfg(test)]
mod tests;

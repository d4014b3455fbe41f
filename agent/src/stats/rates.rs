//! Pure. How fast counters grow between snapshots.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

#[cfg(test)]
mod tests;

/// Shorter spans say little, for the kernel counts in slices (cAdvisor's housekeeping, 10 s, less
/// what a timer may be early).
const SHORTEST: Duration = Duration::from_secs(5);
/// Of a count that is older than this no rate is made: it would tell of the past (cAdvisor forgets
/// after 2 min).
const LONGEST: Duration = Duration::from_secs(120);

/// A count that rates are made from, and the newest rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    at: Timestamp,
    total_ns: u64,
    nano_cores: Option<u64>,
}

/// The counts of one snapshot, by cgroup.
#[derive(Clone, Debug, Default)]
pub struct Rates(HashMap<PathBuf, Mark>);

impl Rates {
    /// Billionths of a CPU that a cgroup used on average since it was measured before, and the
    /// mark of this time in `next`. `None` when it was not measured before, was made anew, or that
    /// is too long ago. After less than 5 s the rate before stands.
    pub fn measure(
        &self,
        next: &mut Self,
        path: &Path,
        (at, total_ns): (Timestamp, u64),
    ) -> Option<u64> {
        let fresh = Mark { at, total_ns, nano_cores: None };
        let mark = self.0.get(path).map_or(fresh, |before| before.advanced(fresh));
        next.0.insert(path.to_owned(), mark);
        mark.nano_cores
    }
}

impl Mark {
    fn advanced(self, fresh: Self) -> Self {
        // A clock that was set back tells nothing of the span.
        let Ok(span) = Duration::try_from(fresh.at.duration_since(self.at)) else { return fresh };
        let Some(used) = fresh.total_ns.checked_sub(self.total_ns) else { return fresh };
        if span > LONGEST {
            return fresh;
        }
        if span < SHORTEST {
            return self;
        }
        let rate = u128::from(used) * 1_000_000_000 / span.as_nanos();
        Self { nano_cores: u64::try_from(rate).ok(), ..fresh }
    }
}

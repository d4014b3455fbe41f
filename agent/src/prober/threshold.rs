//! Pure. How many answers in a row it takes to change a result.

use super::ProbeResult;
use super::settings::Settings;

/// Like answers in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    last: ProbeResult,
    run: u32,
}

impl Tally {
    /// Counts an answer. Returns it once there were enough of its kind in a row, and again with
    /// each further one. An answer of the other kind begins a new row; `Unknown` counts for
    /// nothing and breaks no row.
    pub fn count(&mut self, answer: ProbeResult, settings: &Settings) -> Option<ProbeResult> {
        let enough = match answer {
            ProbeResult::Unknown => return None,
            ProbeResult::Success => settings.success_threshold,
            ProbeResult::Failure => settings.failure_threshold,
        };
        self.run = if self.last == answer { self.run.saturating_add(1) } else { 1 };
        self.last = answer;
        (self.run >= enough).then_some(answer)
    }
}

#[cfg(test)]
mod tests;

//! Pure. Who has been silent for too long.

use std::time::Duration;

/// The last sign of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    pub name: &'static str,
    pub age: Duration,
    /// How old it may become.
    pub limit: Duration,
}

/// The loops whose last sign is older than they may be, in the order given; empty when all live
/// and when none is watched.
///
/// `overslept` is how much later than planned the question itself comes. A process that did not
/// run at all could give no signs either, so that much is forgiven to everybody.
pub fn silent(signs: &[Sign], overslept: Duration) -> Vec<&'static str> {
    signs
        .iter()
        .filter(|sign| sign.age.saturating_sub(overslept) > sign.limit)
        .map(|sign| sign.name)
        .collect()
}

#[cfg(test)]
mod tests;

//! Pure. When a certificate is asked for, and why.
//!
//! ```text
//!            signed   found or obtained       70 %   90 %      end        + 5 min
//! ──────────────┼──────────────┼────────────────┼──────┼─────────┼────────────┼──────
//!                      wait                      ╰ask at a        ask         give up, when the
//!                                                 random point               server answers and
//!                                                                            refuses
//! ```
//!
//! At once, in any stretch: there is none, it lacks a name, its file is lost. After a failure
//! everything waits for the back-off.

use std::time::Duration;

use jiff::Timestamp;

use super::csr::Wanted;
use super::x509::CertificateFacts;

#[cfg(test)]
mod tests;

/// Renewal begins at 70 % of a certificate's life, and at 90 % at the latest (client-go v1.36).
const EARLIEST: f64 = 0.7;
const SPREAD: f64 = 0.2;
/// How long an ended credential is lived with before the daemon ends (kubelet v1.36).
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a file may be missing or broken before it counts as lost: somebody may be writing it.
const GRACE: Duration = Duration::from_secs(10);
/// A certificate that this node just obtained is kept at least so long...
const SHORTEST_USE: Duration = Duration::from_secs(10);
/// ...and one that has ended on arrival, which only a wrong clock explains, for so long. Without
/// this a node whose clock is ahead would ask without pause.
const USE_WHEN_ENDED: Duration = Duration::from_secs(300);
/// First and longest pause after a failure (client-go v1.36: 2 s doubling four times)...
const PAUSE_FIRST: Duration = Duration::from_secs(2);
const PAUSE_LONGEST: Duration = Duration::from_secs(32);
/// ...lengthened by up to so much.
const PAUSE_SPREAD: f64 = 0.1;

/// All that a decision depends on, beside the time.
#[derive(Clone, Debug)]
pub(super) struct Situation<'a> {
    /// The certificate in use; `None` when there is none.
    pub current: Option<&'a CertificateFacts>,
    /// `None` while it is unknown whom it is to name.
    pub wanted: Option<&'a Wanted>,
    /// When this process obtained `current`; `None` when it was found.
    pub obtained: Option<Timestamp>,
    /// Since when no file holds `current`; `None` while one does.
    pub lost_since: Option<Timestamp>,
    /// Between 0 and 1, one number for one certificate.
    pub jitter: f64,
    /// Nothing is asked before; `None` unless the last attempt failed.
    pub retry_at: Option<Timestamp>,
    /// When this process began.
    pub started: Timestamp,
    /// Whether nothing works without it and the server, asked last, refused.
    pub hopeless: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before that time; `None`: nothing until the situation changes.
    Wait(Option<Timestamp>),
    Ask(Why),
    /// End the daemon. The certificate ended at that time.
    GiveUp(Timestamp),
}

/// Why a certificate is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There is none.
    Missing,
    /// It lacks a name or an address, or is another's.
    Names,
    /// Most of its life is over.
    Due,
    /// All of its life is over.
    Ended,
    /// It is in memory only.
    Lost,
}

impl Why {
    /// For the log.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Missing => "there is none",
            Self::Names => "it does not name all that it should",
            Self::Due => "most of its life is over",
            Self::Ended => "it has ended",
            Self::Lost => "its file is lost",
        }
    }
}

/// What to do at `now`.
pub(super) fn plan(situation: &Situation<'_>, now: Timestamp) -> Step {
    let Some(wanted) = situation.wanted else { return Step::Wait(None) };
    let (mut at, mut why) = match situation.current {
        None => (now, Why::Missing),
        Some(current) if !wanted.is_named_by(current) => (now, Why::Names),
        Some(current) => {
            let ended = current.not_after <= now;
            (due(current, situation), if ended { Why::Ended } else { Why::Due })
        }
    };
    if let Some(current) = situation.current
        && situation.hopeless
        && current.not_after.max(situation.started) + PATIENCE <= now
    {
        return Step::GiveUp(current.not_after);
    }
    if let Some(since) = situation.lost_since
        && since + GRACE < at
    {
        (at, why) = (since + GRACE, Why::Lost);
    }
    at = at.max(situation.retry_at.unwrap_or(at));
    if at <= now { Step::Ask(why) } else { Step::Wait(Some(at)) }
}

/// When the certificate is to be replaced. A signer that signs for an hour or less dates its
/// certificates back by 5 min, so that the random point may be past on arrival: what was just
/// obtained is used for half of what is left of it at least.
fn due(current: &CertificateFacts, situation: &Situation<'_>) -> Timestamp {
    let life = current.not_after.duration_since(current.not_before).as_secs_f64();
    let share = life * (EARLIEST + SPREAD * situation.jitter.clamp(0.0, 1.0));
    let point = current.not_before.saturating_add(seconds(share));
    let point = point.unwrap_or(current.not_after);
    let Some(obtained) = situation.obtained else { return point };
    let left = current.not_after.duration_since(obtained).as_secs_f64();
    let least = if left <= 0.0 { USE_WHEN_ENDED } else { seconds(left / 2.0).max(SHORTEST_USE) };
    point.max(obtained.saturating_add(least).unwrap_or(obtained))
}

/// Negative and absurd amounts are none.
fn seconds(amount: f64) -> Duration {
    Duration::try_from_secs_f64(amount).unwrap_or_default()
}

/// The pause after so many failures in a row, one or more. `jitter` is between 0 and 1.
pub(super) fn pause_after(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = (PAUSE_FIRST * 2_u32.pow(doublings)).min(PAUSE_LONGEST);
    pause.mul_f64(1.0 + PAUSE_SPREAD * jitter.clamp(0.0, 1.0))
}

//! Pure. The five stages of a pod's life on this node and the only ways between them.
//!
//! ```text
//! Waiting ──> Syncing ──> Terminating ──> Terminated ──> Finished
//!    └───────────────────────^
//! ```

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

#[cfg(test)]
mod tests;

/// Why a pod ends here. The first cause is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The API object is being deleted, or vanished.
    Deleted,
    /// All containers finished and none restarts.
    Completed,
    /// Refused by admission: the published reason and message.
    Rejected { reason: String, message: String },
    /// A critical pod needs the room.
    Preempted { message: String },
    /// `activeDeadlineSeconds` is over.
    DeadlineExceeded,
    /// The runtime holds it and no source wants it.
    Orphaned,
}

/// Where a pod stands. Moves go downwards only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Known, not yet admitted.
    Waiting,
    /// Being made as its spec says.
    Syncing,
    /// Being ended. SIGKILL falls due at `since + grace`, which can only come nearer.
    Terminating { cause: EndCause, since: Timestamp, grace: Duration },
    /// No container runs; volumes and cgroup are being cleared.
    Terminated { cause: EndCause },
    /// Volumes and cgroup are gone. Dead containers stay for their logs until the pod itself is
    /// deleted.
    Finished { cause: EndCause },
}

impl Lifecycle {
    /// The stage after admission; later stages stay as they are.
    #[must_use]
    pub fn admitted(self) -> Self {
        match self {
            Self::Waiting => Self::Syncing,
            later => later,
        }
    }

    /// The stage after an order to end the pod within `grace` from `now`. A pod that is ending
    /// already keeps its first cause and the nearer of the two deadlines; one that has ended is
    /// not touched.
    #[must_use]
    pub fn terminate(self, cause: EndCause, grace: Duration, now: Timestamp) -> Self {
        match self {
            Self::Waiting | Self::Syncing => Self::Terminating { cause, since: now, grace },
            Self::Terminating { cause, since, grace: old } => {
                let elapsed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
                Self::Terminating { cause, since, grace: old.min(elapsed + grace) }
            }
            ended => ended,
        }
    }

    /// The stage once no container runs; only a terminating pod gets there.
    #[must_use]
    pub fn stopped(self) -> Self {
        match self {
            Self::Terminating { cause, .. } => Self::Terminated { cause },
            other => other,
        }
    }

    /// The stage once volumes and cgroup are gone; only a terminated pod gets there.
    #[must_use]
    pub fn cleared(self) -> Self {
        match self {
            Self::Terminated { cause } => Self::Finished { cause },
            other => other,
        }
    }

    /// Why the pod ends; `None` while it is to run.
    pub fn end_cause(&self) -> Option<&EndCause> {
        match self {
            Self::Waiting | Self::Syncing => None,
            Self::Terminating { cause, .. }
            | Self::Terminated { cause }
            | Self::Finished { cause } => Some(cause),
        }
    }

    /// When SIGKILL falls due; `None` outside of `Terminating`.
    pub fn kill_deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Terminating { since, grace, .. } => {
                let grace = SignedDuration::try_from(*grace).unwrap_or(SignedDuration::MAX);
                Some(since.saturating_add(grace).unwrap_or(Timestamp::MAX))
            }
            _ => None,
        }
    }

    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Finished { .. })
    }
}

//! Pure. The five stages of a pod's life on this node and the only ways between them.

use std::time::Duration;

use jiff::Timestamp;

/// Why a pod ends here. The first cause is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The API object is being deleted, or vanished.
    Deleted,
    /// All containers finished and none restarts.
    Completed,
    /// Refused by admission: the published reason and message.
    Rejected { reason: String, message: String },
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
    /// Being ended. `deadline` is when SIGKILL falls due; it can only come nearer.
    Terminating { cause: EndCause, since: Timestamp, grace: Duration },
    /// No container runs; volumes and cgroup are being cleared.
    Terminated { cause: EndCause },
    /// Nothing of it is left on the node.
    Finished { cause: EndCause },
}

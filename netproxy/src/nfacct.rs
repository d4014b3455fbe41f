//! Counters in the kernel that rules count packets with.
//!
//! **What.** Named counter objects that a match of iptables counts in, for metrics about packets
//! that a rule took.
//! **Writes.** Makes the objects; they stay, as rules in the kernel refer to them.
//! **Invariants.** A rule counts in an object only if that object is there.
//! **Source.** `pkg/proxy/metrics` and `pkg/proxy/iptables`, v1.36;
//! `linux/netfilter/nfnetlink_acct.h`.

pub mod boundary;
pub mod netlink;

use tracing::info;

pub use boundary::{AccountingCounters, Count};
pub use netlink::NetlinkAccounting;

/// Counts forwarded packets that were dropped because conntrack calls them invalid
/// (`kubeproxy_iptables_ct_state_invalid_dropped_packets_total`).
pub const INVALID_DROPPED: &str = "ct_state_invalid_dropped_pkts";
/// Counts packets to node ports on loopback addresses
/// (`kubeproxy_iptables_localhost_nodeports_accepted_packets_total`).
pub const LOCALHOST_ACCEPTED: &str = "localhost_nps_accepted_pkts";

/// Which of the counters are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountingObjects {
    /// [`INVALID_DROPPED`].
    pub invalid_dropped: bool,
    /// [`LOCALHOST_ACCEPTED`].
    pub localhost_accepted: bool,
}

impl AccountingObjects {
    /// Both.
    pub const ALL: Self = Self { invalid_dropped: true, localhost_accepted: true };
}

/// Makes the counters as far as the kernel can, and tells which are there.
pub async fn ensure_counters(counters: &dyn AccountingCounters) -> AccountingObjects {
    let made = async |name| match counters.ensure(name).await {
        Ok(()) => true,
        Err(error) => {
            info!(counter = name, %error, "rules go without this counter");
            false
        }
    };
    AccountingObjects {
        invalid_dropped: made(INVALID_DROPPED).await,
        localhost_accepted: made(LOCALHOST_ACCEPTED).await,
    }
}

#[cfg(test)]
mod tests;

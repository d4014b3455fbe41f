//! The nftables back end.
//!
//! **What.** Plans one table of one family from service ports and endpoints, says what differs
//! between two of them, and writes it.
//! **Owns.** The table `kube-proxy` of the families `ip` and `ip6`, nothing outside of it.
//! **Reads.** Facts about service ports, and [`RuleContext`](crate::rules::RuleContext).
//! What is live is read at start, after a failure, and when somebody else changed it.
//! **Writes.** Changes of elements in one batch over netlink; chains, whole tables and very large
//! changes in one transaction of `nft -f -`. Nothing when nothing changed.
//! **Invariants.** No moment is without rules: a table of another layout is replaced in a single
//! transaction, and chains are deleted only after the elements that led to them. A failed write is
//! followed by a new look at what is live. Chains and rules are few and do not grow with the
//! number of services, only with the number of different endpoint counts; everything else is an
//! element of a set or map. Equal input gives an equal table. A change of one service touches only
//! elements of that service.
//! **Source.** Packet fates, table name and hook priorities are those of `pkg/proxy/nftables`,
//! v1.36. The layout is ours, for the one of upstream loads in a time that grows with the square
//! of the number of services.
//!
//! ```text
//! nat-prerouting, nat-output > services
//!   ip daddr . proto . dport    vmap @service-ips -------+--> cluster-ip-tcp-2   mark unless pod
//!   @nodeport-ips proto . dport vmap @service-nodeports -+--> external-tcp-2     mark
//!                                                        +--> nodeport-tcp-2     mark
//!                                                        +--> external-local
//!                                                        |      pods and node > short-circuit-tcp-2
//!                                                        |      others        > local-tcp-1
//!                                                        +--> ...-affinity-10800
//!   cluster-ip-tcp-2:  dnat to ip daddr . dport . (random mod 2) map @endpoints-tcp
//! ```
//!
//! The number at the end of a chain name is how many endpoints it chooses from, so a service with
//! two endpoints is one element in `service-ips` and two in `endpoints-tcp`. A second way into the
//! service, such as a node port, has elements of its own.
//!
//! Services with session affinity have a class, `8001:0`, and each of their endpoints one below
//! it, `8001:2c`. The class travels in the packet's priority from one rule to the next, and is
//! taken off again before the packet leaves. `affinity` remembers the endpoint of each client and
//! service; a remembered endpoint that is gone is forgotten on the spot. In IPv6 it knows clients
//! by a hash of their address, for nft cannot write longer keys to a map.

pub mod affinity;
pub mod apply;
pub mod backend;
pub mod base_chains;
pub mod boundary;
pub mod cleanup;
pub mod command;
pub mod diff;
pub mod elements;
pub mod floor;
pub mod layout;
pub mod netlink;
pub mod netlink_elements;
pub mod parse;
pub mod parse_rule;
pub mod plan;
pub mod render;
pub mod render_rule;
pub mod rule;
pub mod state;

pub use apply::NftSyncError;
pub use backend::NftBackend;
pub use boundary::{LiveTable, Nft, NftError};
pub use command::NftCommand;
pub use diff::{NftDiff, diff};
pub use layout::TableContext;
pub use parse::{ForeignTable, parse_table};
pub use plan::{NftPlan, Overlap};
pub use render::{Batch, render_diff, render_full, render_removal, render_stale_chains};
pub use state::NftState;

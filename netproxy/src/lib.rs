//! kube-proxy as a library.
//!
//! The caller follows Services, EndpointSlices and its Node, and sends each change into a bounded
//! channel. [`run`] keeps the netfilter rules of the machine equal to what they ask for.
//!
//! ```text
//! ServiceChange > model::changes > model (service ports, endpoints) > rules::plan > RuleSet
//!                                                                                     |
//!                kernel < iptables::apply < iptables::render < rules::diff <----------+
//! ```
//!
//! Where to look: [`input`] for what comes in, [`model`] for which endpoints a service port uses,
//! [`rules`] for the rules, [`backend`] and [`iptables`] for how they reach the kernel, [`task`] for
//! the loop, [`pacing`] for its timing, [`conntrack`] for UDP clients of gone endpoints.
//!
//! What others see: [`status`] for what the loop publishes, [`health`] and [`metrics`] for what is
//! answered over [`http`], [`servers`] for the ports, [`events`] for what users are told.
//!
//! Rules survive the end of the process, so that a restart interrupts nothing. A start reads what
//! is live and writes only what differs.
#![forbid(unsafe_code)]

pub mod backend;
pub mod config;
pub mod conntrack;
pub mod events;
pub mod explain;
mod family;
pub mod health;
pub mod http;
pub mod input;
pub mod interference;
pub mod iptables;
pub mod machine;
pub mod metrics;
pub mod mode;
pub mod model;
pub mod nfacct;
pub mod nfnetlink;
pub mod nftables;
mod node_addresses;
pub mod outside;
pub mod pacing;
pub mod rules;
pub mod servers;
pub mod status;
mod sysctl;
pub mod task;
#[cfg(any(test, feature = "testing"))]
#[allow(missing_docs, clippy::panic, clippy::missing_panics_doc, reason = "test support")]
pub mod testing;

pub use backend::{Backend, BackendError, Finding, SyncReport};
pub use config::{IpFamily, LocalTraffic, NodePortAddresses, ProxyConfig, ProxyMode};
pub use input::{NodeFacts, ObjectKind, ServiceChange};
pub use outside::Outside;
pub use status::{FamilyStatus, ProxyStatus, SyncOutcome};
pub use task::{Backends, ProxyError, health_timeout, run};

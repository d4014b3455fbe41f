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
//! [`rules`] for the rules, [`iptables`] for how they reach the kernel, [`task`] for the loop,
//! [`pacing`] for its timing, [`conntrack`] for UDP clients of gone endpoints.
//!
//! Rules survive the end of the process, so that a restart interrupts nothing. A start reads what
//! is live and writes only what differs.
#![forbid(unsafe_code)]

pub mod config;
pub mod conntrack;
mod family;
pub mod input;
pub mod iptables;
pub mod machine;
pub mod model;
pub mod pacing;
pub mod rules;
pub mod status;
mod sysctl;
pub mod task;
#[cfg(any(test, feature = "testing"))]
#[allow(missing_docs, clippy::panic, clippy::missing_panics_doc, reason = "test support")]
pub mod testing;

pub use config::{IpFamily, LocalTraffic, NodePortAddresses, ProxyConfig};
pub use input::{NodeFacts, ObjectKind, ServiceChange};
pub use status::{FamilyStatus, ProxyStatus, SyncOutcome};
pub use task::{Backends, ProxyError, health_timeout, run};

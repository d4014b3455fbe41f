//! The health of the proxy, and of services on this node, as load balancers ask for it.
//!
//! **What.** `/healthz` and `/livez` of the proxy, and a port for each service with a
//! `healthCheckNodePort`.
//! **Owns.** The ports of services.
//! **Reads.** [`ProxyStatus`](crate::ProxyStatus) as the loop publishes it.
//! **Writes.** Listening sockets; events when they cannot be had.
//! **Invariants.** A service's port answers only while the service wants it. A port that cannot be
//! had keeps nothing else from working.
//! **Source.** kube-proxy v1.36: paths, codes, bodies and headers; KEP-3836 for nodes that are
//! about to go, KEP-1669 for the endpoints that count.

mod proxy;
mod report;
mod service;
mod service_plan;

pub use proxy::HealthRoutes;
pub use report::{FamilyReport, HealthReport, report};
pub use service::ServiceHealth;
pub use service_plan::{HealthPort, ServicePortsPlan, plan, wanted_ports};

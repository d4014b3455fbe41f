//! noded: one daemon that makes a Linux machine a Kubernetes node.
//!
//! The crate is cut by the kubelet's own subsystems; every folder is a slice whose `mod.rs` says
//! what it owns, reads and writes, and what must never happen.
//!
//! ```text
//! API watch ──> podsource ──DesiredPods──┐
//! CRI, events ──> pleg ──RuntimeCache────┼──> podworker (one task per pod)
//! machine, runtime ──> node ──NodeView───┘     observe ─> podplan ─> podexec ─> report
//!                                                                      │          │
//!              sandboxes, containers <── boundary <── adapters <───────┤          ├─> status ─> API
//!              images, volumes, cm (cgroups) <─────────────────────────┘          └─> events ─> API
//!
//! Services, EndpointSlices ──> adapters::kube::ProxyFeed ──> netproxy ──> iptables
//! ```
//!
//! Where to start reading: [`startup`] for what is built in which order, [`podplan`] for what a
//! pod should do next (pure), [`podworker`] for who does it, [`boundary`] for the outside.
//!
//! Invariants: pure files never wait, read a clock or touch the machine; only [`adapters`] does;
//! one task writes each fact and hands out snapshots; what the runtime does not tell is unknown
//! and never taken for dead; a restart at any moment changes nothing for the pods.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests arrange the files they need"))]

pub mod adapters;
pub mod admission;
pub mod backoff;
pub mod boundary;
pub mod certificates;
pub mod cli;
pub mod cm;
pub mod commands;
pub mod config;
pub mod container_logs;
pub mod events;
pub mod exit;
pub mod gc;
pub mod images;
pub mod liveness;
pub mod metrics;
pub mod model;
pub mod node;
pub mod objects;
pub mod pleg;
pub mod podexec;
pub mod podplan;
pub mod podsource;
pub mod podworker;
pub mod prober;
pub mod reason;
pub mod server;
pub mod startup;
pub mod stats;
pub mod status;
pub mod telemetry;
#[cfg(test)]
pub mod testing;
pub mod timer;
pub mod user_namespaces;
pub mod volumes;

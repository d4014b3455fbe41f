//! noded: one daemon that makes a Linux machine a Kubernetes node.

pub mod adapters;
pub mod admission;
pub mod backoff;
pub mod boundary;
pub mod cli;
pub mod cm;
pub mod config;
pub mod events;
pub mod exit;
pub mod images;
pub mod model;
pub mod node;
pub mod objects;
pub mod pleg;
pub mod podexec;
pub mod podplan;
pub mod podsource;
pub mod podworker;
pub mod reason;
pub mod server;
pub mod startup;
pub mod status;
pub mod telemetry;
#[cfg(test)]
pub mod testing;
pub mod volumes;

//! The proxy on the real kernel: packets of clients and pods in network namespaces made for each
//! test, for each back end.
//!
//! Needs root. Namespaces live as long as the test, so nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod affinity;
mod ask;
mod detectors;
mod endpoints;
mod fates;
mod faults;
mod fixture;
mod kills;
mod load;
mod mode;
mod network;
mod proxy;
mod recorder;
mod restart;
mod rolling;
mod rules;
mod sctp;
mod server;
mod topology;
mod udp;
mod ways;

//! Fakes, builders and the packet tracer.
//!
//! Every fake keeps state, logs the calls it gets, and fails the next call of a name on demand.

pub mod build;
pub mod fake_iptables;
pub mod fake_kernel;
pub mod packet;
#[cfg(test)]
pub mod random;

pub use build::{ServiceBuilder, SliceBuilder, node, service, slice};
pub use fake_iptables::FakeIptables;
pub use fake_kernel::{FakeConntrack, FakeMachine};
pub use packet::{Fate, Packet, Verdict, live_tables};

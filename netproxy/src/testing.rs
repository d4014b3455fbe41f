//! Fakes, builders and the packet tracer.
//!
//! Every fake keeps state, logs the calls it gets, and fails the next call of a name on demand.

pub mod build;
pub mod facts;
pub mod fake_accounting;
pub mod fake_iptables;
pub mod fake_kernel;
pub mod fake_nft;
pub mod fake_rule_watch;
pub mod nft_packet;
pub mod outside;
pub mod packet;
#[cfg(test)]
pub mod random;
pub mod recording_backend;

pub use build::{ServiceBuilder, SliceBuilder, node, service, slice};
pub use facts::{port_facts, rule_context};
pub use fake_accounting::FakeAccounting;
pub use fake_iptables::{FakeIptables, Fault};
pub use fake_kernel::{FakeConntrack, FakeMachine};
pub use fake_nft::{FakeNft, NftCall};
pub use fake_rule_watch::FakeRuleWatch;
pub use nft_packet::NftTracer;
pub use outside::{FakeEvents, FakePorts};
pub use packet::{Fate, Packet, Verdict, live_tables};
pub use recording_backend::RecordingBackend;

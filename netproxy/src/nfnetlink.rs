//! Requests to the netfilter part of the kernel over netlink.
//!
//! **What.** Messages as bytes, and a socket that sends them and hands out the answers one by
//! one, without keeping any.
//! **Owns.** A socket for as long as a caller keeps it.
//! **Invariants.** Nothing the kernel sends, cut short or garbled, makes reading panic.
//! **Source.** `linux/netlink.h`, `linux/netfilter/nfnetlink.h`.

pub mod message;
mod socket;

pub use message::{Message, Request, attributes, messages};
pub use socket::NetfilterSocket;

//! The container runtime through CRI v1 over its unix socket.
//!
//! **What**: implements the runtime and image boundaries; turns containerd's event stream into
//! wake-ups.
//! **Invariants**: every call has a deadline; an answer that does not come leaves the object
//! unknown; only objects that carry a pod UID label are shown.
//! **Source**: CRI v1 of Kubernetes v1.36; containerd 1.6 to 2.x.

mod client;
mod convert;
mod error;
mod events;
mod images;
mod runtime;
mod termination_message;

pub use client::CriClient;
pub use events::{RuntimeWake, watch_runtime_events};

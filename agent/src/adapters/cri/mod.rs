//! The container runtime through CRI v1 over its unix socket.
//!
//! **What**: implements the runtime and image boundaries; turns containerd's event stream into
//! wake-ups; reads its content store for the progress of pulls.
//! **Invariants**: every call has a deadline; an answer that does not come leaves the object
//! unknown; only objects that carry a pod UID label are shown.
//! **Source**: CRI v1 of Kubernetes v1.36; containerd 1.6 to 2.x.

mod checkpoint;
mod client;
mod content;
mod convert;
mod error;
mod events;
mod images;
mod measured;
mod runtime;
mod stats;
mod streaming;
mod termination_message;

pub use client::CriClient;
pub use content::ContainerdContent;
pub use events::{RuntimeWake, watch_runtime_events};

//! The life of a pod on this node.

mod lifecycle;

pub use lifecycle::{EndCause, Lifecycle};

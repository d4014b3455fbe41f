//! Pure. What a pod worker should do next.

mod types;

pub use types::{HeldBack, PodPlan, SandboxStep, StartContainer, StopCause, StopContainer};

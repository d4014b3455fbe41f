//! Whether the loops that keep a node alive still turn, told to systemd.
//!
//! **What**: the watchdog of the service, and the line that `systemctl status` shows.
//! **Owns**: the list of watched loops and when each last gave a sign.
//! **Reads**: the `NodeView`, what the runtime holds.
//! **Writes**: `READY=1`, `STATUS=` and `WATCHDOG=1` through [`crate::boundary::Supervisor`].
//! **Invariants**: a loop that waits for something outside, a dead API server or a runtime that
//! hangs, still gives signs: a restart would not help. A loop that has not begun is not judged.
//! What this process slept through, because the machine was busy or halted, is nobody's silence.
//! **Source**: kubelet v1.36 `pkg/kubelet/watchdog`; it asks its health checks instead.

mod pulse;
mod status_line;
mod task;
mod verdict;

pub use pulse::{Liveness, Pulse};
pub use task::{ServiceFacts, ServiceTask, WatchdogTask};

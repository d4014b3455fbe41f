//! Container logs: who reads them, and how they are kept from growing without end.
//!
//! **What**: reads and follows the logs that the runtime writes for `kubectl logs`, and rotates
//! those of running containers (`containerLogMaxSize`, `containerLogMaxFiles`).
//! **Owns**: the names of the files beside a container's log; the runtime owns the log itself, and
//! `gc` what pods and containers leave.
//! **Reads**: the runtime cache, which says where logs lie and who still runs; log files.
//! **Writes**: rotated and compressed logs below `podLogsDir`; the call that makes the runtime begin
//! a new log.
//! **Invariants**: memory does not grow with a log, a line or the number of lines; a reader holds no
//! thread while it waits; who follows sees every line once, also across rotations; nothing is opened
//! through a link; a container of which nothing is known is not taken for ended; a rotated log never
//! replaces another.
//! **Source**: Kubernetes v1.36 `k8s.io/cri-client/pkg/logs`, `pkg/kubelet/logs`. Differences: a
//! line that is not in the format of CRI is left out wherever it stands, while the kubelet ends with
//! an error when it is the first; the format of Docker's own logs is not read.

mod choice;
pub mod cri_log;
mod options;
mod reading;
mod rotation_plan;
mod stream;
mod succession;
mod task;

pub use choice::choose_instance;
pub use options::{BadOptions, LogOptions, parse_options};
pub use stream::{LogSource, LogText};
pub use task::{RotationParts, RotationTask};

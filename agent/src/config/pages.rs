//! Pure. Which pages of the kubelet server are offered.

use std::collections::BTreeMap;

use super::wire::KubeletConfiguration;

/// The feature gate that has an effect here; others are accepted and named in the log.
const CHECKPOINT: &str = "ContainerCheckpoint";

/// Whether a page answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    Yes,
    No,
}

impl Offered {
    fn when(is_offered: bool) -> Self {
        if is_offered { Self::Yes } else { Self::No }
    }
}

/// What `/logs/` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemLogs {
    /// That it is disabled.
    Off,
    /// Files below `/var/log`.
    Files,
    /// The same, and queries of the journal.
    FilesAndQueries,
}

/// Pages that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagesConfig {
    /// `enableSystemLogHandler`, on by default, and `enableSystemLogQuery`, off by default.
    pub system_logs: SystemLogs,
    /// `enableProfilingHandler`, on by default.
    pub profiling: Offered,
    /// `enableDebugFlagsHandler`, on by default.
    pub debug_flags: Offered,
    /// Feature gate ContainerCheckpoint, on by default (v1.36).
    pub checkpoint: Offered,
}

/// The pages that the file asks for.
pub(super) fn resolve(wire: &KubeletConfiguration) -> PagesConfig {
    let gate = wire.feature_gates.as_ref().and_then(|gates| gates.get(CHECKPOINT)).copied();
    PagesConfig {
        system_logs: match wire.enable_system_log_handler.unwrap_or(true) {
            false => SystemLogs::Off,
            true if wire.enable_system_log_query == Some(true) => SystemLogs::FilesAndQueries,
            true => SystemLogs::Files,
        },
        profiling: Offered::when(wire.enable_profiling_handler.unwrap_or(true)),
        debug_flags: Offered::when(wire.enable_debug_flags_handler.unwrap_or(true)),
        checkpoint: Offered::when(gate.unwrap_or(true)),
    }
}

/// The given feature gates that have no effect here, as they are named in the log.
pub(super) fn gates_without_effect(gates: &BTreeMap<String, bool>) -> Vec<String> {
    let unknown = gates.keys().filter(|name| *name != CHECKPOINT);
    unknown.map(|name| format!("featureGates.{name}")).collect()
}

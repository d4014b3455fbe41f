//! Reading and following the logs of containers.

use super::server::ServerParts;
use super::{Tasks, spawn_with_end};
use crate::adapters::linux::log_watch::LogWatch;
use crate::config::AgentConfig;
use crate::server::logs::{self, LogParts};
use crate::server::route::Route;

/// Starts the task that tells followers of new lines.
pub(super) fn watch(tasks: &mut Tasks) -> Option<LogWatch> {
    match LogWatch::new() {
        Ok(watch) => {
            spawn_with_end(tasks, "log watch", watch.clone().run());
            Some(watch)
        }
        Err(error) => {
            tracing::warn!(%error, "no inotify: followed logs are looked at each second");
            None
        }
    }
}

pub(super) fn routes(config: &AgentConfig, parts: &ServerParts<'_>) -> Vec<Route> {
    logs::routes(LogParts {
        pods: parts.pods.clone(),
        root: config.pod_logs_dir.clone(),
        watch: parts.log_watch.clone(),
        clock: parts.ground.clock(),
    })
}

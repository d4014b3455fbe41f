//! The sources of static pods that the configuration names.

use std::sync::Arc;

use super::{Tasks, spawn};
use crate::adapters::HttpManifestUrl;
use crate::adapters::linux::LinuxManifestFiles;
use crate::config::AgentConfig;
use crate::exit::{ExitReason, Fatal};
use crate::podsource::{ManifestsTask, Sources, UrlTask};
use crate::podworker::WallClock;
use crate::telemetry::Causes;

/// Starts reading static pods from where the configuration says.
pub(super) fn start(
    config: &AgentConfig,
    clock: &WallClock,
    tasks: &mut Tasks,
) -> Result<Sources, Fatal> {
    let mut sources = Sources::default();
    if let Some(path) = &config.static_pod_path {
        let files = Arc::new(LinuxManifestFiles::new(path));
        let period = config.cadence.file_check;
        let (task, pods) = ManifestsTask::new(files, &config.node_name, period, Arc::clone(clock));
        spawn(tasks, "static pod manifests", task.run());
        sources.file = Some(pods);
    }
    if let Some(url) = &config.static_pod_url {
        let url = HttpManifestUrl::new(url)
            .map_err(|error| Fatal::new(ExitReason::Configuration, Causes(&error).to_string()))?;
        let period = config.cadence.http_check;
        let (task, pods) =
            UrlTask::new(Arc::new(url), &config.node_name, period, Arc::clone(clock));
        spawn(tasks, "static pod URL", task.run());
        sources.http = Some(pods);
    }
    Ok(sources)
}

/// Says what a node without a kubeconfig does.
pub(super) fn tell_standalone(config: &AgentConfig) {
    if config.static_pod_path.is_none() && config.static_pod_url.is_none() {
        tracing::warn!(
            "neither a kubeconfig nor static pods are given, so nothing will run here; give --kubeconfig, or staticPodPath in the configuration"
        );
    } else {
        tracing::info!("no kubeconfig is given: standalone, only static pods run here");
    }
}

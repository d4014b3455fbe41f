//! Starts and ends of containers, and their hooks.

use k8s_openapi::api::core::v1 as api;
use prometheus::{IntCounter, IntCounterVec};

use super::register::{Register, unseen};
use crate::model::ContainerKind;

/// Starts and ends of containers. Cheap to clone.
#[derive(Clone)]
pub struct ContainerMetrics {
    started: IntCounterVec,
    start_errors: IntCounterVec,
    terminated: IntCounterVec,
    http_fallbacks: IntCounter,
    sleeps_cut_short: IntCounter,
}

unseen!(ContainerMetrics);

impl ContainerMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            started: register.counters(
                "kubelet_started_containers_total",
                "Containers begun to be started",
                &["container_type"],
            ),
            start_errors: register.counters(
                "kubelet_started_containers_errors_total",
                "Containers that could not be started, by the reason that is published",
                &["container_type", "code"],
            ),
            terminated: register.counters(
                "kubelet_terminated_containers_total",
                "Containers that ended, by exit code and reason",
                &["container_type", "exit_code", "reason"],
            ),
            http_fallbacks: register.counter(
                "kubelet_lifecycle_handler_http_fallbacks_total",
                "Hooks that were asked for over https and answered over http",
            ),
            sleeps_cut_short: register.counter(
                "kubelet_sleep_action_terminated_early_total",
                "Hooks that sleep and had no time to end",
            ),
        }
    }

    /// A container is about to be started.
    pub fn start_begun(&self, kind: Kind) {
        self.started.with_label_values(&[kind.as_str()]).inc();
    }

    /// A container could not be started for this reason.
    pub fn start_failed(&self, kind: Kind, reason: &str) {
        self.start_errors.with_label_values(&[kind.as_str(), reason]).inc();
    }

    /// Counts the containers that `status` shows as ended and `before` did not.
    pub fn ended_since(&self, before: &api::PodStatus, status: &api::PodStatus) {
        type Statuses = Option<Vec<api::ContainerStatus>>;
        let groups: [(Kind, &Statuses, &Statuses); 3] = [
            (Kind::Init, &before.init_container_statuses, &status.init_container_statuses),
            (Kind::Regular, &before.container_statuses, &status.container_statuses),
            (
                Kind::Ephemeral,
                &before.ephemeral_container_statuses,
                &status.ephemeral_container_statuses,
            ),
        ];
        for (kind, before, now) in groups {
            for shown in now.iter().flatten() {
                let Some(end) = terminated(shown) else { continue };
                let known = before.iter().flatten().find(|known| known.name == shown.name);
                if known.and_then(terminated).is_none() {
                    let code = end.exit_code.to_string();
                    let reason = end.reason.as_deref().unwrap_or_default();
                    self.terminated.with_label_values(&[kind.as_str(), &code, reason]).inc();
                }
            }
        }
    }

    /// A hook was answered over http although https was asked for.
    pub fn hook_fell_back(&self) {
        self.http_fallbacks.inc();
    }

    /// A hook's sleep was cut short.
    pub fn sleep_cut_short(&self) {
        self.sleeps_cut_short.inc();
    }
}

fn terminated(status: &api::ContainerStatus) -> Option<&api::ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

/// In which list of the pod's specification a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Regular,
    Init,
    Ephemeral,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "container",
            Self::Init => "init_container",
            Self::Ephemeral => "ephemeral_container",
        }
    }
}

impl From<ContainerKind> for Kind {
    fn from(kind: ContainerKind) -> Self {
        match kind {
            ContainerKind::Regular => Self::Regular,
            ContainerKind::Init => Self::Init,
            ContainerKind::Ephemeral => Self::Ephemeral,
        }
    }
}

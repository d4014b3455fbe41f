//! Pure. How many pods and containers there are, by what the slices publish.

use std::collections::BTreeMap;

use prometheus::Registry;
use prometheus::proto::MetricFamily;

use super::pods::static_label;
use super::register::Register;
use crate::model::{ContainerState, RuntimePods, SandboxState};
use crate::podsource::DesiredPods;
use crate::podworker::{Lifecycle, WorkerState, WorkerStates};

#[cfg(test)]
mod tests;

const LIFECYCLES: [&str; 3] = ["sync", "terminating", "terminated"];
/// Where a pod's specification is known from, and how it is told whether the pod is static.
const KNOWN: [(&str, &str); 5] = [
    ("desired", "true"),
    ("desired", ""),
    ("orphan", "true"),
    ("orphan", ""),
    ("runtime_only", "unknown"),
];

/// Pods and containers of this node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Wanted pods of the API, and static ones.
    desired: [usize; 2],
    /// Those of them that have not ended.
    active: [usize; 2],
    mirror: usize,
    ephemeral: usize,
    /// Workers by lifecycle, where their pods are known from, and whether they are static.
    working: BTreeMap<(&'static str, &'static str, &'static str), usize>,
    /// `None` until the runtime was listed once.
    runtime: Option<RuntimeCounts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RuntimeCounts {
    pods: usize,
    containers: BTreeMap<&'static str, usize>,
}

/// Counts the pods. `runtime` is what the runtime was last seen to hold; `None` before it was
/// listed once.
pub fn count(
    desired: &DesiredPods,
    workers: &WorkerStates,
    runtime: Option<&RuntimePods>,
) -> NodeCounts {
    let mut counts = NodeCounts { mirror: desired.mirror_pods.len(), ..NodeCounts::default() };
    for (uid, pod) in &desired.pods {
        let kind = usize::from(pod.is_static());
        counts.desired[kind] += 1;
        let worker = workers.get(uid).map(|worker| lifecycle(&worker.lifecycle));
        if worker != Some("terminated") && !pod.has_ended() {
            counts.active[kind] += 1;
            counts.ephemeral += pod.spec().ephemeral_containers.as_ref().map_or(0, Vec::len);
        }
    }
    for (config, is_static) in KNOWN {
        for stage in LIFECYCLES {
            counts.working.insert((stage, config, is_static), 0);
        }
    }
    for (uid, worker) in workers {
        let (config, is_static) = known(worker, desired.pods.contains_key(uid));
        *counts.working.entry((lifecycle(&worker.lifecycle), config, is_static)).or_default() += 1;
    }
    counts.runtime = runtime.map(count_runtime);
    counts
}

fn lifecycle(stage: &Lifecycle) -> &'static str {
    match stage {
        Lifecycle::Waiting | Lifecycle::Syncing => "sync",
        Lifecycle::Terminating { .. } => "terminating",
        Lifecycle::Terminated { .. } | Lifecycle::Finished { .. } => "terminated",
    }
}

fn known(worker: &WorkerState, is_desired: bool) -> (&'static str, &'static str) {
    match &worker.pod {
        None => ("runtime_only", "unknown"),
        Some(pod) if is_desired => ("desired", static_label(pod.is_static())),
        Some(pod) => ("orphan", static_label(pod.is_static())),
    }
}

fn count_runtime(pods: &RuntimePods) -> RuntimeCounts {
    let mut counts = RuntimeCounts::default();
    for pod in pods.values() {
        let runs = pod.sandboxes.iter().any(|sandbox| sandbox.state == SandboxState::Ready);
        counts.pods += usize::from(runs);
        for container in &pod.containers {
            let state = match container.state {
                ContainerState::Created => "created",
                ContainerState::Running { .. } => "running",
                ContainerState::Exited(_) => "exited",
                ContainerState::Unknown => "unknown",
            };
            *counts.containers.entry(state).or_default() += 1;
        }
    }
    counts
}

impl NodeCounts {
    /// The counts as metrics.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let registry = Registry::new();
        let register = Register(&registry);
        let both = |name, help, counts: [usize; 2]| {
            let gauge = register.gauges(name, help, &["static"]);
            for (is_static, count) in [false, true].into_iter().zip(counts) {
                gauge.with_label_values(&[static_label(is_static)]).set(count as f64);
            }
        };
        both("kubelet_desired_pods", "Pods this node should run", self.desired);
        both("kubelet_active_pods", "Pods this node should run that have not ended", self.active);
        let plain = |name, help, count: usize| register.gauge(name, help).set(count as f64);
        plain("kubelet_mirror_pods", "Reflections of static pods in the API", self.mirror);
        plain(
            "kubelet_managed_ephemeral_containers",
            "Ephemeral containers of pods that have not ended",
            self.ephemeral,
        );
        let working = register.gauges(
            "kubelet_working_pods",
            "Pods this node works on, by stage, where they are known from, and kind",
            &["lifecycle", "config", "static"],
        );
        for ((stage, config, is_static), count) in &self.working {
            working.with_label_values(&[stage, config, is_static]).set(*count as f64);
        }
        if let Some(runtime) = &self.runtime {
            plain("kubelet_running_pods", "Pods whose sandbox runs", runtime.pods);
            let containers = register.gauges(
                "kubelet_running_containers",
                "Containers in the runtime by state",
                &["container_state"],
            );
            for (state, count) in &runtime.containers {
                containers.with_label_values(&[state]).set(*count as f64);
            }
        }
        registry.gather()
    }
}

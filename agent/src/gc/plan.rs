//! Pure. What is garbage.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::config::DeadContainers;
use crate::model::{
    Container, ContainerId, PodFullName, PodUid, RuntimePod, RuntimePods, SandboxId, SandboxState,
};
use crate::podsource::DesiredPods;
use crate::podworker::{EndCause, Lifecycle, WorkerState, WorkerStates};

#[cfg(test)]
mod tests;

/// What is known of pods at one moment.
#[derive(Clone)]
pub(super) struct Known {
    pub desired: Arc<DesiredPods>,
    pub workers: Arc<WorkerStates>,
    pub runtime: Arc<RuntimePods>,
}

impl Known {
    /// Whether what the pod left is somebody's business: of a source, of a worker, or of the
    /// runtime.
    pub fn contains(&self, uid: &PodUid) -> bool {
        self.desired.pods.contains_key(uid)
            || self.workers.contains_key(uid)
            || self.runtime.contains_key(uid)
    }

    /// All of them.
    pub fn pods(&self) -> HashSet<PodUid> {
        let pods = self.desired.pods.keys().chain(self.workers.keys()).chain(self.runtime.keys());
        pods.cloned().collect()
    }
}

/// What is to be removed of one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Excess {
    pub pod: (PodFullName, PodUid),
    pub containers: Vec<Container>,
    pub sandboxes: Vec<SandboxId>,
}

/// One dead container that might go.
#[derive(Clone, Copy)]
struct Dead<'a> {
    pod: &'a RuntimePod,
    container: &'a Container,
    /// The pod is not over.
    is_live: bool,
}

impl<'a> Dead<'a> {
    /// Instances of one container of one pod are limited together.
    fn unit(&self) -> (&'a PodUid, &'a str) {
        (&self.pod.uid, &self.container.name)
    }

    /// 1 when a newer instance has ended too and is not on offer because it is needed.
    fn needed_beside(&self) -> u32 {
        let newest = self.pod.newest(&self.container.name);
        u32::from(self.is_live && newest.is_some_and(|newest| newest.exit().is_some()))
    }
}

/// Dead containers, and sandboxes, that may not stay. Only what is older than the least age goes:
/// everything of evicted pods, of each other container what is beyond its limit, and beyond the
/// limit of all pods the oldest, while each container keeps one as long as possible.
pub(super) fn excess(
    runtime: &RuntimePods,
    workers: &WorkerStates,
    limits: &DeadContainers,
    now: Timestamp,
) -> Vec<Excess> {
    let mut gone: HashSet<&ContainerId> = HashSet::new();
    let mut kept: Vec<Dead<'_>> = Vec::new();
    for (pod, worker) in cared_for(runtime, workers) {
        for container in pod.containers.iter().filter(|c| is_old(c, limits, now)) {
            if is_evicted(worker) {
                gone.insert(&container.id);
            } else if !is_needed(pod, worker, container) {
                kept.push(Dead { pod, container, is_live: !is_over(worker) });
            }
        }
    }
    kept.sort_by_key(|dead| (Reverse(dead.container.created_at), &dead.container.id));
    if let Some(most) = limits.per_container {
        limit_each(&mut kept, most, &mut gone);
    }
    let total = limits.total.map(|total| usize::try_from(total).unwrap_or(usize::MAX));
    if let Some(total) = total.filter(|total| kept.len() > *total) {
        let units: HashSet<_> = kept.iter().map(Dead::unit).collect();
        let share = u32::try_from(total / units.len().max(1)).unwrap_or(u32::MAX);
        limit_each(&mut kept, share.max(1), &mut gone);
        let cut = total.min(kept.len());
        gone.extend(kept.drain(cut..).map(|dead| &dead.container.id));
    }
    let of_pod = |(pod, worker)| excess_of(pod, worker, &gone);
    let mut excess: Vec<Excess> = cared_for(runtime, workers).filter_map(of_pod).collect();
    excess.sort_by(|a, b| a.pod.1.cmp(&b.pod.1));
    excess
}

/// Pods of the runtime that have a worker; the others are being given one that ends them.
fn cared_for<'a>(
    runtime: &'a RuntimePods,
    workers: &'a WorkerStates,
) -> impl Iterator<Item = (&'a RuntimePod, &'a WorkerState)> {
    runtime.iter().filter_map(|(uid, pod)| Some((pod.as_ref(), workers.get(uid)?)))
}

fn is_old(container: &Container, limits: &DeadContainers, now: Timestamp) -> bool {
    let age = now.duration_since(container.created_at);
    let min_age = SignedDuration::try_from(limits.min_age).unwrap_or(SignedDuration::MAX);
    container.exit().is_some() && age >= min_age
}

/// The pod was ended for want of resources: nothing of it is shown to users any more.
fn is_evicted(worker: &WorkerState) -> bool {
    matches!(&worker.lifecycle, Lifecycle::Finished { cause: EndCause::Preempted { .. } })
}

fn is_over(worker: &WorkerState) -> bool {
    matches!(worker.lifecycle, Lifecycle::Terminated { .. } | Lifecycle::Finished { .. })
}

/// Whether the plan of the pod reads this container's end: it is the newest of its name, and the
/// pod is not over.
fn is_needed(pod: &RuntimePod, worker: &WorkerState, container: &Container) -> bool {
    !is_over(worker) && pod.newest(&container.name).is_some_and(|newest| newest.id == container.id)
}

/// Leaves so many of each container, the newest first, which come first.
fn limit_each<'a>(kept: &mut Vec<Dead<'a>>, most: u32, gone: &mut HashSet<&'a ContainerId>) {
    let mut counts: BTreeMap<(&PodUid, &str), u32> = BTreeMap::new();
    kept.retain(|dead| {
        let count = counts.entry(dead.unit()).or_insert_with(|| dead.needed_beside());
        *count += 1;
        let stays = *count <= most;
        if !stays {
            gone.insert(&dead.container.id);
        }
        stays
    });
}

fn excess_of(
    pod: &RuntimePod,
    worker: &WorkerState,
    gone: &HashSet<&ContainerId>,
) -> Option<Excess> {
    let (dead, rest): (Vec<&Container>, Vec<&Container>) =
        pod.containers.iter().partition(|container| gone.contains(&container.id));
    let all_end = pod.sandboxes.iter().all(|sandbox| sandbox.state == SandboxState::NotReady);
    let sandboxes: Vec<SandboxId> = match is_evicted(worker) && rest.is_empty() && all_end {
        true => pod.sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect(),
        false => Vec::new(),
    };
    (!dead.is_empty() || !sandboxes.is_empty()).then(|| Excess {
        pod: (pod.full_name.clone(), pod.uid.clone()),
        containers: dead.into_iter().cloned().collect(),
        sandboxes,
    })
}

/// The pod a log directory belongs to: `<namespace>_<name>_<uid>`. `None` for any other name,
/// which is not ours to remove.
pub(super) fn pod_of_log_dir(name: &str) -> Option<PodUid> {
    let parts: Vec<&str> = name.split('_').collect();
    match parts.as_slice() {
        [namespace, name, uid] if ![namespace, name, uid].iter().any(|part| part.is_empty()) => {
            Some(PodUid::from(*uid))
        }
        _ => None,
    }
}

/// Whether a link that leads nowhere may go: its container is not there or has ended. While a log
/// is being rotated the link of a running container leads nowhere for a moment. A name that is too
/// long lost the end of its container's id.
pub(super) fn is_dead_link(name: &str, runtime: &RuntimePods) -> bool {
    let Some((_, id)) = name.strip_suffix(".log").and_then(|name| name.rsplit_once('-')) else {
        return false;
    };
    let mut containers = runtime.values().flat_map(|pod| &pod.containers);
    !id.is_empty() && !containers.any(|c| c.id.as_str().starts_with(id) && c.exit().is_none())
}

//! Pure. Which workers there should be, and what each is to do.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::pool::was_admitted;
use super::{EndCause, WorkerStates};
use crate::model::{Pod, PodFullName, PodSource, PodUid, RuntimePods};
use crate::podsource::DesiredPods;

#[cfg(test)]
mod tests;

/// Grace of a pod that no source wants (kubelet v1.36, `HandlePodCleanups`).
const ORPHAN_GRACE: Duration = Duration::from_secs(1);

/// What is to become of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    Run,
    /// Refused by admission.
    Reject {
        reason: String,
        message: String,
    },
    /// Has to make room for a critical pod.
    Preempt {
        message: String,
        grace: Duration,
    },
    /// Its deletion was asked for.
    Delete {
        grace: Duration,
    },
    /// Its source has it no more.
    Vanish {
        grace: Duration,
    },
    /// No source ever had it.
    Orphan,
}

impl Demand {
    /// Cause and grace of the end it asks for; `None` when the pod is to run.
    pub fn end(&self) -> Option<(EndCause, Duration)> {
        match self {
            Self::Run => None,
            Self::Reject { reason, message } => {
                let (reason, message) = (reason.clone(), message.clone());
                Some((EndCause::Rejected { reason, message }, Duration::ZERO))
            }
            Self::Preempt { message, grace } => {
                Some((EndCause::Preempted { message: message.clone() }, *grace))
            }
            Self::Delete { grace } | Self::Vanish { grace } => Some((EndCause::Deleted, *grace)),
            Self::Orphan => Some((EndCause::Orphaned, ORPHAN_GRACE)),
        }
    }

    /// Whether nothing of the pod is to stay on the node, its dead containers included.
    pub fn leaves_nothing(&self) -> bool {
        matches!(self, Self::Delete { .. } | Self::Vanish { .. } | Self::Orphan)
    }
}

/// All a worker is told; the newest one counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// `None` for a pod that only the runtime knows.
    pub pod: Option<Pod>,
    pub demand: Demand,
}

/// What the pool has to change.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerOrder {
    /// Start a worker. Admission comes first for a pod that is to run.
    Start { pod: Pod, demand: Demand },
    /// Tell a worker.
    Update { uid: PodUid, wish: Wish },
    /// Start a worker that ends what only the runtime knows.
    EndOrphan { uid: PodUid, full_name: PodFullName },
}

/// What the dispatch is made from.
#[derive(Clone, Copy, Debug)]
pub struct DispatchInput<'a> {
    pub desired: &'a DesiredPods,
    pub workers: &'a WorkerStates,
    /// Pods whose workers are done while their source still has them.
    pub finished: &'a HashSet<PodUid>,
    pub runtime: &'a RuntimePods,
    pub now: Timestamp,
}

/// The orders that bring the workers in line with the desired pods. Pods that were taken on before
/// come first, because they are not judged and have their room; then the oldest. A static pod waits until the one
/// of the same name before it has gone.
pub fn dispatch(input: &DispatchInput<'_>) -> Vec<WorkerOrder> {
    let mut pods: Vec<&Pod> = input.desired.pods.values().collect();
    pods.sort_by_cached_key(|pod| (!was_admitted(pod, input.runtime), creation(pod), pod.uid()));
    let mut orders = Vec::new();
    for pod in pods {
        let known = input.workers.contains_key(pod.uid());
        let demand = demand(pod, input.now, !known);
        if known {
            let wish = Wish { pod: Some(pod.clone()), demand };
            orders.push(WorkerOrder::Update { uid: pod.uid().clone(), wish });
        } else if !input.finished.contains(pod.uid()) && !waits_for_namesake(pod, input.workers) {
            orders.push(WorkerOrder::Start { pod: pod.clone(), demand });
        }
    }
    orders.extend(vanished(input));
    orders.extend(orphans(input));
    orders
}

/// What the object itself asks for. For a pod that is met while it is being deleted already, which
/// happens after a restart, the grace is what is left of it: the API dates a deletion to the end
/// of its grace.
fn demand(pod: &Pod, now: Timestamp, first_look: bool) -> Demand {
    let Some(due) = pod.deletion_requested() else { return Demand::Run };
    let full = Duration::from_secs(pod.grace_seconds());
    let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    Demand::Delete { grace: if first_look { full.min(left) } else { full } }
}

fn creation(pod: &Pod) -> Option<Timestamp> {
    pod.object().metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn waits_for_namesake(pod: &Pod, workers: &WorkerStates) -> bool {
    pod.source() != PodSource::Api
        && workers.iter().any(|(uid, worker)| {
            uid != pod.uid()
                && worker.full_name == *pod.full_name()
                && worker.pod.as_ref().is_some_and(|other| other.source() != PodSource::Api)
        })
}

/// Workers whose pod was taken back by its source. An API object that vanishes was deleted with
/// grace 0; a static pod gets the grace of its spec.
fn vanished(input: &DispatchInput<'_>) -> impl Iterator<Item = WorkerOrder> {
    let gone = input.workers.iter().filter(|(uid, _)| !input.desired.pods.contains_key(*uid));
    gone.filter_map(|(uid, worker)| {
        let pod = worker.pod.clone()?;
        let grace = match pod.source() {
            PodSource::Api => Duration::ZERO,
            PodSource::File | PodSource::Http => Duration::from_secs(pod.grace_seconds()),
        };
        let wish = Wish { pod: Some(pod), demand: Demand::Vanish { grace } };
        Some(WorkerOrder::Update { uid: uid.clone(), wish })
    })
}

/// Pods in the runtime that nobody wants; none before every source has spoken, because a pod that
/// is missing may merely not have arrived.
fn orphans(input: &DispatchInput<'_>) -> impl Iterator<Item = WorkerOrder> {
    let unwanted = input.runtime.iter().filter(|(uid, _)| {
        input.desired.all_synced
            && !input.desired.pods.contains_key(*uid)
            && !input.workers.contains_key(*uid)
    });
    unwanted.map(|(uid, pod)| WorkerOrder::EndOrphan {
        uid: uid.clone(),
        full_name: pod.full_name.clone(),
    })
}

//! Who may start now, who waits for room, and who makes it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::PodPool;
use crate::admission::{
    AdmissionRules, AdmitDecision, PREEMPTED, Surroundings, admit, needs_strict_groups,
    preemption_event,
};
use crate::boundary::NodesApi;
use crate::model::{Pod, PodSource, PodUid, RuntimePods};
use crate::node::NodeView;
use crate::podexec::rejected_event;
use crate::podsource::DesiredPods;
use crate::podworker::{Demand, Lifecycle, Wish, WorkerState};

/// What admission works with.
#[derive(Clone, Default)]
pub struct AdmissionParts {
    pub rules: AdmissionRules,
    /// Asked for the Node's labels before a pod is refused for them; `None` in standalone mode.
    pub nodes: Option<Arc<dyn NodesApi>>,
}

/// Pods that are neither started nor refused yet.
#[derive(Default)]
pub(super) struct Undecided {
    /// They fit once others have ended; their room is kept for them.
    waiting: HashMap<PodUid, Pod>,
    /// The Node as the server had it when our copy spoke against the pod; `None` while that is
    /// not known, or when the server did not say.
    asked: HashMap<PodUid, Option<Arc<api::Node>>>,
    asking: HashSet<PodUid>,
    /// When they were seen first.
    seen: HashMap<PodUid, Instant>,
    pub(super) answers: JoinSet<(PodUid, Option<Arc<api::Node>>)>,
}

impl Undecided {
    /// Forgets pods that are not wanted any more.
    pub fn retain(&mut self, desired: &DesiredPods) {
        self.waiting.retain(|uid, _| desired.pods.contains_key(uid));
        self.asked.retain(|uid, _| desired.pods.contains_key(uid));
        self.seen.retain(|uid, _| desired.pods.contains_key(uid));
    }

    /// Takes in what the server said of the Node.
    pub fn take_answer(&mut self, uid: PodUid, node: Option<Arc<api::Node>>) {
        self.asking.remove(&uid);
        self.asked.insert(uid, node);
    }

    /// Whether a pod waits for others to end.
    pub fn waits_for_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn forget(&mut self, uid: &PodUid) {
        self.waiting.remove(uid);
        self.asked.remove(uid);
        self.seen.remove(uid);
    }
}

/// What comes of a pod at this moment.
enum Judgement {
    Start,
    Refuse { reason: String, message: String },
    Later,
}

/// Pods a newcomer is judged beside.
struct Neighbours {
    /// Those that take up room, and those it is kept for.
    now: Vec<Pod>,
    /// What remains of them when those that end anyway have ended.
    soon: Vec<Pod>,
}

/// Whether the pod was taken on before, by this process or an earlier one: something of it is
/// here, or its status says that it was begun with. Such a pod is not judged again.
pub(in crate::podworker) fn was_admitted(pod: &Pod, runtime: &RuntimePods) -> bool {
    let begun = |status: &api::PodStatus| {
        let phase = status.phase.as_deref().unwrap_or_default();
        status.start_time.is_some() || !matches!(phase, "" | "Pending")
    };
    runtime.get(pod.uid()).is_some_and(|held| !held.is_empty())
        || pod.api_status().is_some_and(begun)
}

impl PodPool {
    /// Starts the pod's worker unless the pod has to wait. A pod that was admitted before, or is
    /// ending, is not asked about; a pod of the API is asked about only once the Node is known.
    pub(super) fn admit_and_start(&mut self, pod: Pod, mut demand: Demand, runtime: &RuntimePods) {
        let seen = *self.undecided.seen.entry(pod.uid().clone()).or_insert_with(Instant::now);
        let metrics = self.context.metrics.pods.clone();
        if demand == Demand::Run && !pod.has_ended() && !was_admitted(&pod, runtime) {
            match self.judge(&pod) {
                Judgement::Start => {}
                Judgement::Later => return,
                Judgement::Refuse { reason, message } => {
                    tracing::info!(pod = %pod.full_name(), reason, message, "pod is rejected");
                    let now = (self.context.clock)();
                    self.context.events.publish(rejected_event(&pod, &reason, &message, now));
                    metrics.rejected(&reason);
                    demand = Demand::Reject { reason, message };
                }
            }
        }
        self.undecided.forget(pod.uid());
        if demand == Demand::Run {
            metrics.begun(pod.spec().containers.len(), seen.elapsed());
        }
        let (uid, full_name) = (pod.uid().clone(), pod.full_name().clone());
        self.start(uid, full_name, Wish { pod: Some(pod), demand });
    }

    fn judge(&mut self, pod: &Pod) -> Judgement {
        let view = self.node.borrow().clone();
        if view.node.is_none() && pod.source() == PodSource::Api {
            return Judgement::Later;
        }
        // Whether the runtime can do it is soon known, and a refusal is final.
        if needs_strict_groups(pod) && view.features.is_none() {
            return Judgement::Later;
        }
        let asked = self.undecided.asked.get(pod.uid());
        let shown = asked.cloned().flatten().or_else(|| view.node.clone());
        let node = judged_by(shown, &view);
        let neighbours = self.neighbours(pod);
        let context = Arc::clone(&self.context);
        let decide = |admitted: &[Pod]| {
            let rules = &context.admission.rules;
            let pressures = &view.pressures;
            admit(pod, &Surroundings { admitted, node: node.as_deref(), pressures, rules })
        };
        match decide(&neighbours.soon) {
            refusal if refusal.doubts_labels() && self.ask_for_node(pod.uid()) => Judgement::Later,
            AdmitDecision::Reject { reason, message } => Judgement::Refuse { reason, message },
            AdmitDecision::Preempt { victims, short } => {
                self.undecided.waiting.insert(pod.uid().clone(), pod.clone());
                for victim in victims {
                    self.preempt(&victim, pod, &short);
                }
                Judgement::Later
            }
            AdmitDecision::Admit => {
                let has_room = neighbours.soon.len() == neighbours.now.len()
                    || decide(&neighbours.now) == AdmitDecision::Admit;
                if has_room {
                    return Judgement::Start;
                }
                self.undecided.waiting.insert(pod.uid().clone(), pod.clone());
                Judgement::Later
            }
        }
    }

    /// Fetches the Node for the pod; whether the answer is still to come. It is asked for once.
    fn ask_for_node(&mut self, uid: &PodUid) -> bool {
        if self.undecided.asked.contains_key(uid) {
            return false;
        }
        let Some(nodes) = self.context.admission.nodes.clone() else { return false };
        if self.undecided.asking.insert(uid.clone()) {
            let uid = uid.clone();
            self.undecided.answers.spawn(async move {
                let node = nodes.get_node().await;
                let node = node.inspect_err(|error| {
                    tracing::warn!(%error, "cannot look at the node's labels again");
                });
                (uid, node.ok().map(Arc::new))
            });
        }
        true
    }

    /// Pods beside `pod`. A critical pod waits for all that are ending, others only for those that
    /// end for the sake of a critical pod.
    fn neighbours(&self, pod: &Pod) -> Neighbours {
        let is_critical = pod.is_critical();
        let reserved = self.undecided.waiting.values().filter(|other| other.uid() != pod.uid());
        let reserved: Vec<Pod> = reserved.cloned().collect();
        let mut neighbours = Neighbours { now: reserved.clone(), soon: reserved };
        for (uid, state) in &self.states {
            let Some(other) = self.pod_with_room(uid, state) else { continue };
            let is_ending = matches!(state.lifecycle, Lifecycle::Terminating { .. });
            let is_waited_for = self.is_victim(uid) || is_critical && is_ending;
            if !is_waited_for {
                neighbours.soon.push(other.clone());
            }
            neighbours.now.push(other.clone());
        }
        neighbours
    }

    /// The worker's pod, when it takes up room on the node.
    fn pod_with_room<'a>(&self, uid: &PodUid, state: &'a WorkerState) -> Option<&'a Pod> {
        let takes_room = matches!(
            state.lifecycle,
            Lifecycle::Waiting | Lifecycle::Syncing | Lifecycle::Terminating { .. }
        );
        let wish = self.entries.get(uid).map(|entry| entry.wishes.borrow());
        let is_rejected = wish.is_some_and(|wish| matches!(wish.demand, Demand::Reject { .. }));
        state.pod.as_ref().filter(|pod| takes_room && !is_rejected && !pod.has_ended())
    }

    fn is_victim(&self, uid: &PodUid) -> bool {
        let wish = self.entries.get(uid).map(|entry| entry.wishes.borrow());
        wish.is_some_and(|wish| matches!(wish.demand, Demand::Preempt { .. }))
    }

    /// Ends the victim with its own grace, for want of the resource `short`.
    fn preempt(&mut self, victim: &PodUid, critical: &Pod, short: &str) {
        let Some(entry) = self.entries.get(victim) else { return };
        let wish = entry.wishes.borrow().clone();
        let (Some(pod), Demand::Run) = (&wish.pod, &wish.demand) else { return };
        tracing::info!(pod = %pod.full_name(), critical = %critical.full_name(), "pod makes room");
        self.context.metrics.pods.preempted(short);
        self.context.events.publish(preemption_event(pod, (self.context.clock)()));
        let grace = std::time::Duration::from_secs(pod.grace_seconds());
        let demand = Demand::Preempt { message: PREEMPTED.to_owned(), grace };
        entry.wishes.send_replace(Wish { demand, ..wish });
    }
}

/// The Node as the server shows it, or as far as it is known without; its own resources and features
/// as this process knows them, because the server may show those of an earlier one.
fn judged_by(shown: Option<Arc<api::Node>>, view: &NodeView) -> Option<Arc<api::Node>> {
    if view.allocatable.is_empty() && view.features.is_none() {
        return shown;
    }
    let mut node = shown.map(Arc::unwrap_or_clone).unwrap_or_else(|| {
        let mut unknown = api::Node::default();
        unknown.metadata.name = Some(view.name.clone());
        unknown
    });
    let status = node.status.get_or_insert_default();
    let own = view.allocatable.iter().map(|(name, amount)| (name.clone(), (*amount).into()));
    status.allocatable.get_or_insert_default().extend(own);
    if let Some(features) = &view.features {
        let policy = features.supplemental_groups_policy.unwrap_or(false);
        let known = status.features.get_or_insert_default();
        known.supplemental_groups_policy = Some(policy);
    }
    Some(Arc::new(node))
}

#[cfg(test)]
mod tests;

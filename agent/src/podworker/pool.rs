//! Owns the workers: who there is, what each is told, when it is poked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::dispatch::DispatchInput;
use super::worker::{Lines, Note, Worker, has_ended};
use super::{
    Demand, Lifecycle, Wish, WorkerContext, WorkerOrder, WorkerState, WorkerStates, dispatch,
};
use crate::admission::{AdmitDecision, admit};
use crate::model::{Pod, PodFullName, PodSource, PodUid, RuntimePod, RuntimePods};
use crate::node::NodeView;
use crate::podexec::rejected_event;
use crate::podsource::DesiredPods;

#[cfg(test)]
mod tests;

/// Stages of life on their way from the workers; each has at most one, and the pool takes them at
/// once.
const NOTES: usize = 64;

/// Why the pool stopped.
#[derive(Debug, thiserror::Error)]
pub enum PoolEnded {
    #[error("a pod worker failed")]
    WorkerFailed(#[source] JoinError),
    #[error("the {0} ended")]
    InputEnded(&'static str),
}

struct Entry {
    wishes: watch::Sender<Wish>,
    poke: Arc<Notify>,
    /// What the worker was last poked about.
    shown: Option<Arc<RuntimePod>>,
}

/// The loop; see [`PodPool::run`].
pub struct PodPool {
    context: Arc<WorkerContext>,
    desired: watch::Receiver<Arc<DesiredPods>>,
    runtime: watch::Receiver<Option<Arc<RuntimePods>>>,
    node: watch::Receiver<NodeView>,
    network_up: bool,
    entries: HashMap<PodUid, Entry>,
    states: WorkerStates,
    publisher: watch::Sender<Arc<WorkerStates>>,
    finished: HashSet<PodUid>,
    tasks: JoinSet<PodUid>,
    note_sender: mpsc::Sender<Note>,
    notes: mpsc::Receiver<Note>,
}

impl PodPool {
    /// The receiver shows no workers until `run` has started some.
    pub fn new(
        context: WorkerContext,
        desired: watch::Receiver<Arc<DesiredPods>>,
    ) -> (Self, watch::Receiver<Arc<WorkerStates>>) {
        let (note_sender, notes) = mpsc::channel(NOTES);
        let (publisher, reader) = watch::channel(Arc::default());
        let pool = Self {
            runtime: context.pleg.subscribe(),
            node: context.node.clone(),
            network_up: false,
            context: Arc::new(context),
            desired,
            entries: HashMap::new(),
            states: WorkerStates::new(),
            publisher,
            finished: HashSet::new(),
            tasks: JoinSet::new(),
            note_sender,
            notes,
        };
        (pool, reader)
    }

    /// Runs until an input or a worker ends that should not. Nothing is done before the runtime
    /// was listed once, because until then every pod looks new.
    pub async fn run(mut self) -> PoolEnded {
        if self.runtime.wait_for(Option::is_some).await.is_err() {
            return PoolEnded::InputEnded("runtime watcher");
        }
        let mut node_open = true;
        let mut due = true;
        loop {
            if due {
                self.dispatch();
            }
            // All arms are cancel safe: watches, a channel receive, joining a set.
            due = tokio::select! {
                changed = self.desired.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => return PoolEnded::InputEnded("sources of pods"),
                },
                changed = self.runtime.changed() => match changed {
                    Ok(()) => self.poke(),
                    Err(_) => return PoolEnded::InputEnded("runtime watcher"),
                },
                changed = self.node.changed(), if node_open => {
                    node_open = changed.is_ok();
                    self.take_node();
                    true
                }
                Some(note) = self.notes.recv() => {
                    self.take_note(note);
                    false
                }
                Some(joined) = self.tasks.join_next(), if !self.tasks.is_empty() => match joined {
                    Ok(uid) => {
                        self.forget(&uid);
                        true
                    }
                    Err(error) => return PoolEnded::WorkerFailed(error),
                },
            };
        }
    }

    fn dispatch(&mut self) {
        let desired = Arc::clone(&self.desired.borrow_and_update());
        let Some(runtime) = self.runtime.borrow().clone() else { return };
        self.finished.retain(|uid| desired.pods.contains_key(uid));
        let orders = dispatch(&DispatchInput {
            desired: &desired,
            workers: &self.states,
            finished: &self.finished,
            runtime: &runtime,
            now: (self.context.clock)(),
        });
        for order in orders {
            match order {
                WorkerOrder::Update { uid, wish } => self.update(&uid, wish),
                WorkerOrder::Start { pod, demand } => self.admit_and_start(pod, demand, &runtime),
                WorkerOrder::EndOrphan { uid, full_name } => {
                    tracing::info!(pod = %full_name, %uid, "ending a pod that no source wants");
                    let wish = Wish { pod: None, demand: Demand::Orphan };
                    self.start(uid, full_name, wish);
                }
            }
        }
    }

    /// Tells a worker what is new. A rejection is final: such a pod can only be deleted.
    fn update(&mut self, uid: &PodUid, mut wish: Wish) {
        let Some(entry) = self.entries.get(uid) else { return };
        let current = entry.wishes.borrow();
        if let (Demand::Reject { .. }, Demand::Run) = (&current.demand, &wish.demand) {
            wish.demand = current.demand.clone();
        }
        if is_same(&current, &wish) {
            return;
        }
        drop(current);
        if let Some(state) = self.states.get_mut(uid) {
            state.pod.clone_from(&wish.pod);
        }
        entry.wishes.send_replace(wish);
        self.publish();
    }

    /// Starts the pod's worker. A pod that has a container here already, or is ending, is not
    /// asked about; a pod of the API is asked about only once the Node is known.
    fn admit_and_start(&mut self, pod: Pod, mut demand: Demand, runtime: &RuntimePods) {
        let runs_already = runtime.get(pod.uid()).is_some_and(|held| !held.containers.is_empty());
        if demand == Demand::Run && !runs_already && !has_ended(&pod) {
            let node = self.node.borrow().node.clone();
            if node.is_none() && pod.source() == PodSource::Api {
                return;
            }
            if let AdmitDecision::Reject { reason, message } =
                admit(&pod, &self.admitted(), node.as_deref())
            {
                tracing::info!(pod = %pod.full_name(), reason, message, "pod is rejected");
                let now = (self.context.clock)();
                self.context.events.publish(rejected_event(&pod, &reason, &message, now));
                demand = Demand::Reject { reason, message };
            }
        }
        let (uid, full_name) = (pod.uid().clone(), pod.full_name().clone());
        self.start(uid, full_name, Wish { pod: Some(pod), demand });
    }

    /// Pods that take up room on the node.
    fn admitted(&self) -> Vec<Pod> {
        let takes_room = |stage: &Lifecycle| {
            matches!(stage, Lifecycle::Waiting | Lifecycle::Syncing | Lifecycle::Terminating { .. })
        };
        let states = self.states.iter().filter(|(uid, state)| {
            let wish = self.entries.get(*uid).map(|entry| entry.wishes.borrow());
            let rejected = wish.is_some_and(|w| matches!(w.demand, Demand::Reject { .. }));
            !rejected && takes_room(&state.lifecycle)
        });
        states.filter_map(|(_, state)| state.pod.clone()).filter(|pod| !has_ended(pod)).collect()
    }

    fn start(&mut self, uid: PodUid, full_name: PodFullName, wish: Wish) {
        let pod = wish.pod.clone();
        let (wishes, receiver) = watch::channel(wish);
        let poke = Arc::new(Notify::new());
        let shown = self.runtime.borrow().as_ref().and_then(|pods| pods.get(&uid).cloned());
        let lines =
            Lines { wishes: receiver, poke: Arc::clone(&poke), notes: self.note_sender.clone() };
        let identity = (uid.clone(), full_name.clone());
        let worker = Worker::new(Arc::clone(&self.context), identity, lines);
        self.tasks.spawn(worker.run());
        let state = WorkerState { full_name, pod, lifecycle: Lifecycle::Waiting };
        self.states.insert(uid.clone(), state);
        self.entries.insert(uid, Entry { wishes, poke, shown });
        self.publish();
    }

    /// Wakes the workers whose pods the runtime shows otherwise than before; whether it holds a
    /// pod that has no worker.
    fn poke(&mut self) -> bool {
        let Some(pods) = self.runtime.borrow_and_update().clone() else { return false };
        for (uid, entry) in &mut self.entries {
            let held = pods.get(uid);
            let same = match (&entry.shown, held) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (None, None) => true,
                _ => false,
            };
            if !same {
                entry.shown = held.cloned();
                entry.poke.notify_one();
            }
        }
        pods.keys().any(|uid| !self.entries.contains_key(uid))
    }

    /// A network that has come up is news for every pod that waits for it.
    fn take_node(&mut self) {
        let is_up = self.node.borrow_and_update().network_problem.is_none();
        if is_up && !std::mem::replace(&mut self.network_up, is_up) {
            self.entries.values().for_each(|entry| entry.poke.notify_one());
        }
        self.network_up = is_up;
    }

    fn take_note(&mut self, note: Note) {
        if let Some(state) = self.states.get_mut(&note.uid) {
            state.lifecycle = note.lifecycle;
            self.publish();
        }
    }

    fn forget(&mut self, uid: &PodUid) {
        self.entries.remove(uid);
        self.states.remove(uid);
        self.finished.insert(uid.clone());
        self.publish();
    }

    fn publish(&self) {
        self.publisher.send_replace(Arc::new(self.states.clone()));
    }
}

/// Equality that looks into the objects only when they are not one and the same: every change of
/// one pod passes all others through here.
fn is_same(old: &Wish, new: &Wish) -> bool {
    let same_object = match (&old.pod, &new.pod) {
        (Some(old), Some(new)) => Arc::ptr_eq(old.object(), new.object()) || old == new,
        (None, None) => true,
        _ => false,
    };
    same_object && old.demand == new.demand
}

//! Owns the workers: who there is, what each is told, when it is poked.

mod admission;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::dispatch::DispatchInput;
use super::worker::{Lines, Note, Worker};
use super::{
    Demand, Lifecycle, Wish, WorkerContext, WorkerOrder, WorkerState, WorkerStates, dispatch,
};
use crate::liveness::Pulse;
use crate::model::{PodFullName, PodUid, RuntimePod, RuntimePods};
use crate::node::NodeView;
use crate::podsource::DesiredPods;

pub use admission::AdmissionParts;
use admission::Undecided;
pub(super) use admission::was_admitted;

#[cfg(test)]
mod tests;

/// Stages of life on their way from the workers; each has at most one, and the pool takes them at
/// once.
const NOTES: usize = 64;

/// How often the pool gives a sign of life when there is nothing to do.
const IDLE_SIGN: Duration = Duration::from_secs(30);

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
    undecided: Undecided,
    tasks: JoinSet<PodUid>,
    note_sender: mpsc::Sender<Note>,
    notes: mpsc::Receiver<Note>,
    pulse: Pulse,
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
            undecided: Undecided::default(),
            tasks: JoinSet::new(),
            note_sender,
            notes,
            pulse: Pulse::default(),
        };
        (pool, reader)
    }

    /// Gives signs of life, at least one every 30 s.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = pulse;
        self
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
            self.pulse.beat();
            // All arms are cancel safe: watches, a channel receive, joining a set, a timer.
            due = tokio::select! {
                () = tokio::time::sleep(IDLE_SIGN), if self.pulse.is_watched() => false,
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
                    self.undecided.waits_for_room()
                }
                Some(Ok((uid, node))) = self.undecided.answers.join_next(),
                    if !self.undecided.answers.is_empty() =>
                {
                    self.undecided.take_answer(uid, node);
                    true
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
        self.undecided.retain(&desired);
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
                    self.context.metrics.pods.orphan_found();
                    let wish = Wish { pod: None, demand: Demand::Orphan };
                    self.start(uid, full_name, wish);
                }
            }
        }
    }

    /// Tells a worker what is new. A rejection is final, and so is a preemption: such a pod can
    /// only be deleted. A static pod that comes back while it ends is ended first and starts anew.
    fn update(&mut self, uid: &PodUid, mut wish: Wish) {
        let Some(entry) = self.entries.get(uid) else { return };
        let current = entry.wishes.borrow();
        let is_final = matches!(
            current.demand,
            Demand::Reject { .. } | Demand::Preempt { .. } | Demand::Vanish { .. }
        );
        if is_final && wish.demand == Demand::Run {
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
        let last = self.entries.remove(uid).map(|entry| entry.wishes.borrow().clone());
        let may_return = last.is_some_and(|wish| {
            matches!(wish.demand, Demand::Vanish { .. }) && wish.pod.is_some_and(|p| p.is_static())
        });
        self.states.remove(uid);
        if !may_return {
            self.finished.insert(uid.clone());
        } else if let Some(pod) = self.desired.borrow().pods.get(uid) {
            self.context.metrics.pods.restarted(pod.is_static());
        }
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

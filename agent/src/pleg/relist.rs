//! The loop that reads the runtime and owns the cache.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::diff::{changed_pods, listed_state};
use crate::adapters::cri::RuntimeWake;
use crate::boundary::{Containers, ListedContainer, ListedSandbox, RuntimeError, Sandboxes};
use crate::liveness::Pulse;
use crate::metrics::PlegMetrics;
use crate::model::{
    Container, ContainerId, PodFullName, PodUid, RuntimePod, RuntimePods, Sandbox, SandboxState,
};
use crate::timer::sleep_until;

#[cfg(test)]
mod tests;

/// Backstop while the event stream is up; its only job is to find what an event missed.
const SLOW_RELIST: Duration = Duration::from_secs(60);
/// Without events the kubelet's own period (v1.36, `genericPlegRelistPeriod`).
const FAST_RELIST: Duration = Duration::from_secs(1);
/// No list for this long is unhealthy (v1.36, `genericPlegRelistThreshold`).
const UNHEALTHY_AFTER: Duration = Duration::from_secs(180);
/// CRI learns of an exit from the same event as we do; it is asked again after these waits until
/// it shows the end. On a busy machine it takes its time.
const EXIT_LOOKS: [Duration; 6] = [
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(150),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
];
/// Requests waiting for the loop. Each pod worker has at most one.
const REQUESTS: usize = 256;

/// How the runtime is read.
#[derive(Clone)]
pub struct RuntimeReader {
    pub sandboxes: Arc<dyn Sandboxes>,
    pub containers: Arc<dyn Containers>,
}

type Answer = Result<Arc<RuntimePod>, RuntimeError>;

struct Request {
    uid: PodUid,
    name: PodFullName,
    answer: oneshot::Sender<Answer>,
}

/// What others hold. Cheap to clone.
#[derive(Clone)]
pub struct PlegHandle {
    requests: mpsc::Sender<Request>,
    cache: watch::Receiver<Option<Arc<RuntimePods>>>,
    health: watch::Receiver<Option<String>>,
}

impl PlegHandle {
    /// Reads one pod from the runtime, with a read that begins after this call, and returns what
    /// the cache then holds; an empty pod when the runtime has nothing of it. An error means that
    /// nothing new is known.
    pub async fn refresh(&self, uid: &PodUid, name: &PodFullName) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let request = Request { uid: uid.clone(), name: name.clone(), answer };
        let gone = || RuntimeError::Unavailable("the runtime watcher has ended".to_owned());
        self.requests.send(request).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }

    /// The pod as last seen; `None` when the runtime has nothing of it or was never listed.
    pub fn cached(&self, uid: &PodUid) -> Option<Arc<RuntimePod>> {
        self.cache.borrow().as_ref()?.get(uid).cloned()
    }

    /// All pods as last seen, newest snapshot; `None` until the first whole list is read. An entry
    /// that did not change keeps its `Arc`.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<RuntimePods>>> {
        self.cache.clone()
    }

    /// A handle that shows these pods for ever, for tests of those who only look.
    #[cfg(test)]
    pub fn showing(pods: Option<Arc<RuntimePods>>) -> Self {
        let (requests, cache) = (mpsc::channel(1).0, watch::channel(pods).1);
        Self { requests, cache, health: watch::channel(None).1 }
    }

    /// What is wrong with watching the runtime, for the Node's Ready message; `None` when healthy.
    pub fn health(&self) -> watch::Receiver<Option<String>> {
        self.health.clone()
    }
}

/// A pod that is being read, and who waits for it.
#[derive(Default)]
struct Reading {
    now: Vec<oneshot::Sender<Answer>>,
    /// Came while the read was under way and need one that begins later.
    next: Vec<oneshot::Sender<Answer>>,
    again: bool,
}

/// Containers and sandboxes that ended according to an event while CRI did not show it yet.
struct ExpectedExit {
    looks: usize,
    at: Instant,
}

enum Done {
    Pod(PodUid, PodFullName, Result<RuntimePod, RuntimeError>),
    List(Result<(Vec<ListedSandbox>, Vec<ListedContainer>), RuntimeError>),
}

/// The loop; see [`PlegTask::run`].
pub struct PlegTask {
    runtime: RuntimeReader,
    requests: mpsc::Receiver<Request>,
    wakes: mpsc::Receiver<RuntimeWake>,
    cache: watch::Sender<Option<Arc<RuntimePods>>>,
    health: watch::Sender<Option<String>>,
    pods: RuntimePods,
    reading: HashMap<PodUid, Reading>,
    expected_exits: HashMap<String, ExpectedExit>,
    /// Pods whose read failed before the first snapshot.
    unread: HashSet<PodUid>,
    work: JoinSet<Done>,
    listing: Listing,
    events_up: bool,
    started: Instant,
    /// When a list last succeeded.
    last_list: Option<Instant>,
    next_list: Instant,
    list_failed: bool,
    /// When the last list began.
    list_began: Option<Instant>,
    metrics: PlegMetrics,
    pulse: Pulse,
}

/// A list of the whole runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    Idle,
    UnderWay,
    /// Another one was asked for after this one began.
    UnderWayThenAgain,
}

impl PlegTask {
    pub fn new(runtime: RuntimeReader, wakes: mpsc::Receiver<RuntimeWake>) -> (Self, PlegHandle) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let (cache, cache_reader) = watch::channel(None);
        let (health, health_reader) = watch::channel(None);
        let task = Self {
            runtime,
            requests,
            wakes,
            cache,
            health,
            pods: RuntimePods::new(),
            reading: HashMap::new(),
            expected_exits: HashMap::new(),
            unread: HashSet::new(),
            work: JoinSet::new(),
            listing: Listing::Idle,
            events_up: false,
            started: Instant::now(),
            last_list: None,
            next_list: Instant::now(),
            list_failed: false,
            list_began: None,
            metrics: PlegMetrics::default(),
            pulse: Pulse::default(),
        };
        let handle = PlegHandle { requests: sender, cache: cache_reader, health: health_reader };
        (task, handle)
    }

    /// Tells `metrics` of the looks at the runtime.
    #[must_use]
    pub fn with_metrics(mut self, metrics: PlegMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Gives signs of life, at least one per slow relist, also while the runtime hangs.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = pulse;
        self
    }

    /// Runs until every handle is dropped.
    pub async fn run(mut self) {
        let mut wakes_open = true;
        loop {
            self.pulse.beat();
            let exit_look = self.expected_exits.values().map(|expected| expected.at).min();
            // All arms are cancel safe: channel receives, joining a set, timers.
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.request(request),
                    None => return,
                },
                Some(done) = self.work.join_next(), if !self.work.is_empty() => {
                    if let Ok(done) = done {
                        self.settle(done);
                    }
                }
                wake = self.wakes.recv(), if wakes_open => match wake {
                    Some(wake) => self.wake(wake),
                    None => { wakes_open = false; self.events_up = false; }
                },
                () = tokio::time::sleep_until(self.next_list) => self.list(),
                () = sleep_until(exit_look), if exit_look.is_some() => self.look_for_exits(),
            }
        }
    }

    fn request(&mut self, request: Request) {
        self.read(request.uid, request.name, Some(request.answer));
    }

    /// Reads the pod, or once more after the read that is under way.
    fn read(&mut self, uid: PodUid, name: PodFullName, answer: Option<oneshot::Sender<Answer>>) {
        if let Some(reading) = self.reading.get_mut(&uid) {
            reading.next.extend(answer);
            reading.again = true;
            return;
        }
        let reading = Reading { now: answer.into_iter().collect(), ..Reading::default() };
        self.reading.insert(uid.clone(), reading);
        let old = self.pods.get(&uid).cloned();
        let (runtime, metrics) = (self.runtime.clone(), self.metrics.clone());
        self.work.spawn(async move {
            let began = Instant::now();
            let pod = read_pod(&runtime, &uid, &name, old.as_deref()).await;
            metrics.pod_read(began.elapsed());
            Done::Pod(uid, name, pod)
        });
    }

    fn wake(&mut self, wake: RuntimeWake) {
        match wake {
            RuntimeWake::Connected => {
                self.events_up = true;
                self.metrics.events_up();
                self.list();
            }
            RuntimeWake::Lost => {
                self.events_up = false;
                self.metrics.events_lost();
                self.next_list = Instant::now() + FAST_RELIST;
            }
            RuntimeWake::Changed(id) => self.look_at(&id),
            RuntimeWake::Exited(id) => {
                let at = Instant::now() + EXIT_LOOKS[0];
                self.expected_exits.insert(id.clone(), ExpectedExit { looks: 0, at });
                self.look_at(&id);
            }
        }
    }

    /// Reads the pod that has this sandbox or container. An id nobody knows belongs to something
    /// just made, whose maker reads it himself, or to a pod of which all is unknown; a list finds
    /// the latter.
    fn look_at(&mut self, id: &str) {
        let owner = self.pods.values().find(|pod| holds(pod, id));
        match owner.map(|pod| (pod.uid.clone(), pod.full_name.clone())) {
            Some((uid, name)) => self.read(uid, name, None),
            None => self.next_list = self.next_list.min(Instant::now() + FAST_RELIST),
        }
    }

    fn look_for_exits(&mut self) {
        let now = Instant::now();
        let due: Vec<String> = self
            .expected_exits
            .iter()
            .filter(|(_, expected)| expected.at <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let owner = self.pods.values().find(|pod| shows_alive(pod, &id));
            let owner = owner.map(|pod| (pod.uid.clone(), pod.full_name.clone()));
            let known = self.pods.values().any(|pod| holds(pod, &id));
            let Some(expected) = self.expected_exits.get_mut(&id) else { continue };
            expected.looks += 1;
            match (owner, EXIT_LOOKS.get(expected.looks)) {
                (Some((uid, name)), Some(wait)) => {
                    expected.at = now + *wait;
                    self.read(uid, name, None);
                }
                // It ended so soon that its maker has not read it yet, and may still find it alive.
                (None, Some(wait)) if !known => expected.at = now + *wait,
                _ => {
                    self.expected_exits.remove(&id);
                }
            }
        }
    }

    fn list(&mut self) {
        self.next_list = Instant::now() + if self.events_up { SLOW_RELIST } else { FAST_RELIST };
        let silent = self.last_list.unwrap_or(self.started).elapsed();
        if silent > UNHEALTHY_AFTER {
            let message = format!(
                "PLEG is not healthy: pleg was last seen active {}s ago; threshold is {}s",
                silent.as_secs(),
                UNHEALTHY_AFTER.as_secs()
            );
            self.health.send_replace(Some(message));
        }
        if self.listing != Listing::Idle {
            self.listing = Listing::UnderWayThenAgain;
            return;
        }
        self.listing = Listing::UnderWay;
        let before = self.list_began.replace(Instant::now());
        self.metrics.relist_begins(before.map(|before| before.elapsed()));
        let runtime = self.runtime.clone();
        self.work.spawn(async move {
            let (sandboxes, containers) = tokio::join!(
                runtime.sandboxes.list_sandboxes(None),
                runtime.containers.list_containers(None)
            );
            Done::List(sandboxes.and_then(|sandboxes| Ok((sandboxes, containers?))))
        });
    }

    fn settle(&mut self, done: Done) {
        match done {
            Done::List(result) => self.settle_list(result),
            Done::Pod(uid, name, result) => self.settle_pod(uid, name, result),
        }
        let all_read = self.reading.is_empty() && self.unread.is_empty();
        if self.last_list.is_some() && all_read && self.cache.borrow().is_none() {
            self.publish();
        }
    }

    fn settle_list(
        &mut self,
        result: Result<(Vec<ListedSandbox>, Vec<ListedContainer>), RuntimeError>,
    ) {
        let listing = std::mem::replace(&mut self.listing, Listing::Idle);
        match result {
            Ok((sandboxes, containers)) => {
                if std::mem::take(&mut self.list_failed) {
                    tracing::info!("container runtime answers again");
                }
                self.last_list = Some(Instant::now());
                if let Some(began) = self.list_began {
                    self.metrics.relisted(began.elapsed());
                }
                self.health.send_if_modified(|health| health.take().is_some());
                // Those still there differ from the cache and are read again.
                self.unread.clear();
                for (uid, name) in changed_pods(&self.pods, &sandboxes, &containers) {
                    self.read(uid, name, None);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.list_failed, true) {
                    tracing::warn!(%error, "cannot list containers, their state is unknown until the runtime answers");
                }
                self.next_list = self.next_list.min(Instant::now() + FAST_RELIST);
            }
        }
        if listing == Listing::UnderWayThenAgain {
            self.list();
        }
    }

    fn settle_pod(
        &mut self,
        uid: PodUid,
        name: PodFullName,
        result: Result<RuntimePod, RuntimeError>,
    ) {
        let reading = self.reading.remove(&uid).unwrap_or_default();
        let answer = result.map(|pod| self.store(pod));
        if answer.is_ok() {
            self.unread.remove(&uid);
        } else {
            // A pod that was listed and cannot be read is unknown, not absent: the first snapshot
            // waits for it.
            if self.cache.borrow().is_none() {
                self.unread.insert(uid.clone());
            }
            // The list that follows finds what this read would have shown.
            self.next_list = self.next_list.min(Instant::now() + FAST_RELIST);
        }
        for waiting in reading.now {
            let _ = waiting.send(answer.clone());
        }
        if reading.again {
            let mut next = reading.next.into_iter();
            let first = next.next();
            self.read(uid.clone(), name, first);
            if let Some(started) = self.reading.get_mut(&uid) {
                started.now.extend(next);
            }
        }
    }

    /// Puts the pod into the cache and publishes it if it is another than before.
    fn store(&mut self, pod: RuntimePod) -> Arc<RuntimePod> {
        let pod = match self.pods.get(&pod.uid) {
            Some(old) if **old == pod => return Arc::clone(old),
            _ => Arc::new(pod),
        };
        let changed = if pod.is_empty() {
            self.pods.remove(&pod.uid).is_some()
        } else {
            self.pods.insert(pod.uid.clone(), Arc::clone(&pod));
            true
        };
        if changed && self.cache.borrow().is_some() {
            self.publish();
        }
        pod
    }

    fn publish(&mut self) {
        self.cache.send_replace(Some(Arc::new(self.pods.clone())));
    }
}

fn holds(pod: &RuntimePod, id: &str) -> bool {
    pod.containers.iter().any(|container| container.id.as_str() == id)
        || pod.sandboxes.iter().any(|sandbox| sandbox.id.as_str() == id)
}

fn shows_alive(pod: &RuntimePod, id: &str) -> bool {
    pod.containers.iter().any(|c| c.id.as_str() == id && c.exit().is_none())
        || pod.sandboxes.iter().any(|s| s.id.as_str() == id && s.state == SandboxState::Ready)
}

/// One pod from the runtime. What `old` holds and the list shows unchanged is not asked for again:
/// a running container keeps its start, an ended one its end.
async fn read_pod(
    runtime: &RuntimeReader,
    uid: &PodUid,
    name: &PodFullName,
    old: Option<&RuntimePod>,
) -> Result<RuntimePod, RuntimeError> {
    let (sandboxes, containers) = tokio::join!(
        runtime.sandboxes.list_sandboxes(Some(uid)),
        runtime.containers.list_containers(Some(uid))
    );
    let mut pod = RuntimePod::empty(uid.clone(), name.clone());
    for listed in sandboxes? {
        if let Some(sandbox) = read_sandbox(runtime, &listed, old).await? {
            pod.sandboxes.push(sandbox);
        }
    }
    for listed in containers? {
        if let Some(container) = read_container(runtime, &listed, old).await? {
            pod.containers.push(container);
        }
    }
    pod.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.created_at, sandbox.attempt)));
    pod.containers
        .sort_by_key(|container| std::cmp::Reverse((container.created_at, container.attempt)));
    Ok(pod)
}

/// `None` when it went away between list and status.
async fn read_sandbox(
    runtime: &RuntimeReader,
    listed: &ListedSandbox,
    old: Option<&RuntimePod>,
) -> Result<Option<Sandbox>, RuntimeError> {
    let known = old.into_iter().flat_map(|pod| &pod.sandboxes).find(|known| known.id == listed.id);
    let settled = known.filter(|known| {
        known.state == listed.state
            && (known.state == SandboxState::NotReady
                || known.host_network
                || !known.ips.is_empty())
    });
    if let Some(known) = settled {
        return Ok(Some(known.clone()));
    }
    match runtime.sandboxes.sandbox_status(&listed.id).await {
        Ok(sandbox) => Ok(Some(sandbox)),
        Err(RuntimeError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `None` when it went away between list and status.
async fn read_container(
    runtime: &RuntimeReader,
    listed: &ListedContainer,
    old: Option<&RuntimePod>,
) -> Result<Option<Container>, RuntimeError> {
    let known: Option<&Container> =
        old.into_iter().flat_map(|pod| &pod.containers).find(|known| known.id == listed.id);
    if let Some(known) = known.filter(|known| listed_state(&known.state) == listed.state) {
        return Ok(Some(known.clone()));
    }
    let id: &ContainerId = &listed.id;
    match runtime.containers.container_status(id, &listed.sandbox).await {
        Ok(container) => Ok(Some(container)),
        Err(RuntimeError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

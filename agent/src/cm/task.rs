//! The only writer below `kubepods`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::limits::{self, LimitRules};
use super::names::CgroupNames;
use crate::boundary::{ApiEvent, CgroupDriver, CgroupError, CgroupLimits, Cgroups, Machine};
use crate::config::CgroupConfig;
use crate::events::{EventsHandle, node_reference};
use crate::metrics::{CgroupMetrics, CgroupOperation};
use crate::model::qos::{QosClass, pod_qos_class};
use crate::model::resources::{self, Resources};
use crate::model::{Pod, PodUid};
use crate::reason;
use crate::telemetry::Causes;

/// Requests that wait while one is carried out; each is short, so a small number is enough to
/// never hold up a burst of starting pods.
const QUEUE: usize = 64;

/// How often QoS shares are looked at again and a failed enforcement is tried again (kubelet
/// v1.36).
const RECHECK: Duration = Duration::from_secs(60);

/// Tries to clear a pod's cgroup (kubelet v1.36), and the wait after the first, which grows
/// fourfold.
const REMOVE_TRIES: u32 = 5;
const REMOVE_WAIT: Duration = Duration::from_millis(25);

const CLASSES: [QosClass; 3] = [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort];

#[derive(Debug, thiserror::Error)]
pub enum CmError {
    #[error(
        "cgroup driver systemd is not supported yet: set cgroupDriver to cgroupfs and \
         SystemdCgroup to false in the runtime's configuration"
    )]
    UnsupportedDriver,
    #[error(
        "this machine runs cgroup v1: boot it with cgroup v2 \
         (systemd.unified_cgroup_hierarchy=1), or set failCgroupV1 to false"
    )]
    CgroupV1,
    #[error("cannot set up the cgroups of pods")]
    Setup(#[source] CgroupError),
    #[error("cannot make the cgroup of pod {pod}")]
    Ensure {
        pod: PodUid,
        #[source]
        source: CgroupError,
    },
    /// What is left could not be killed or removed; a later try may succeed.
    #[error("cannot remove cgroup {}", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: CgroupError,
    },
    #[error("cannot list the cgroups of pods")]
    List(#[source] CgroupError),
    #[error("the container manager has ended")]
    Ended,
}

/// What all pods together may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeLimits {
    /// The machine's capacity less the reservations, eviction thresholds not subtracted.
    pub usable: Resources,
    pub pid_max: u64,
    /// Bytes.
    pub huge_page_sizes: Vec<u64>,
}

/// What became of cgroups that nobody knows.
#[derive(Debug, Default)]
pub struct SweptOrphans {
    /// Whose are gone.
    pub removed: Vec<PodUid>,
    /// Why others are not; a later try may succeed.
    pub stuck: Vec<CmError>,
}

enum Request {
    Ensure { pod: Box<Pod>, answer: oneshot::Sender<Result<PathBuf, CmError>> },
    Remove { uid: PodUid, answer: oneshot::Sender<Result<(), CmError>> },
    RemoveOrphans { known: HashSet<PodUid>, answer: oneshot::Sender<Result<SweptOrphans, CmError>> },
}

/// Asks for cgroups. Cheap to clone.
#[derive(Clone)]
pub struct CmHandle {
    requests: mpsc::Sender<Request>,
}

impl CmHandle {
    /// Makes the pod's cgroup with its limits, or brings an existing one up to date. Answers what
    /// CRI takes as `cgroup_parent`.
    pub async fn ensure_pod(&self, pod: &Pod) -> Result<PathBuf, CmError> {
        let pod = Box::new(pod.clone());
        self.ask(|answer| Request::Ensure { pod, answer }).await
    }

    /// Kills what is left in the pod's cgroup and removes it. Success when there is none.
    pub async fn remove_pod(&self, uid: &PodUid) -> Result<(), CmError> {
        let uid = uid.clone();
        self.ask(|answer| Request::Remove { uid, answer }).await
    }

    /// Removes the cgroups of pods that are not in `known` and were not made by `ensure_pod` since
    /// the start.
    pub async fn remove_orphans(&self, known: HashSet<PodUid>) -> Result<SweptOrphans, CmError> {
        self.ask(|answer| Request::RemoveOrphans { known, answer }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, CmError>>) -> Request,
    ) -> Result<T, CmError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| CmError::Ended)?;
        answered.await.map_err(|_| CmError::Ended)?
    }
}

/// What is remembered of a pod whose cgroup was made.
struct Entry {
    class: QosClass,
    requests_milli: i64,
}

/// Owns the tree. Make it with `start`, then `run` it.
pub struct CmTask {
    tree: Tree,
    rules: LimitRules,
    node_limits: CgroupLimits,
    /// Limits of kubepods are to be enforced and are not yet.
    enforcement_due: bool,
    pods: HashMap<PodUid, Entry>,
    burstable_shares: Option<u64>,
    requests: mpsc::Receiver<Request>,
    jobs: JoinSet<()>,
    announce: Announce,
}

/// The cgroups with their names; cheap to clone into a job.
#[derive(Clone)]
struct Tree {
    names: CgroupNames,
    cgroups: Arc<dyn Cgroups>,
    metrics: CgroupMetrics,
}

/// Says what became of the enforcement; a failure that lasts is said once.
struct Announce {
    node_name: String,
    machine: Arc<dyn Machine>,
    events: EventsHandle,
    failed: bool,
}

impl CmTask {
    /// Checks that pods can be contained here and makes `kubepods` and the classes' cgroups. The
    /// errors are fatal: without these cgroups no pod can run.
    pub async fn start(
        config: &CgroupConfig,
        driver: CgroupDriver,
        cgroups: Arc<dyn Cgroups>,
        node: NodeLimits,
        machine: Arc<dyn Machine>,
        (node_name, events): (&str, EventsHandle),
    ) -> Result<(CmHandle, Self), CmError> {
        if driver == CgroupDriver::Systemd {
            return Err(CmError::UnsupportedDriver);
        }
        if cgroups.version() == 1 && config.fail_on_v1 {
            return Err(CmError::CgroupV1);
        }
        let rules = LimitRules {
            cpu_period: config.cpu_cfs_quota.then_some(config.cpu_cfs_quota_period),
            pod_pids: (config.pod_pids_limit > 0).then_some(config.pod_pids_limit),
            huge_page_sizes: node.huge_page_sizes.clone(),
        };
        let node_limits = limits::kubepods_limits(
            &node.usable,
            node.pid_max,
            &node.huge_page_sizes,
            config.enforce_pods,
        );
        let metrics = CgroupMetrics::default();
        let tree = Tree { names: CgroupNames::new(driver, &config.root), cgroups, metrics };
        tree.make_top(&rules).await.map_err(CmError::Setup)?;
        let (sender, requests) = mpsc::channel(QUEUE);
        let announce = Announce { node_name: node_name.to_owned(), machine, events, failed: false };
        let mut task = Self {
            tree,
            rules,
            node_limits,
            enforcement_due: true,
            pods: HashMap::new(),
            burstable_shares: None,
            requests,
            jobs: JoinSet::new(),
            announce,
        };
        task.enforce(config.enforce_pods).await;
        Ok((CmHandle { requests: sender }, task))
    }

    /// Tells `metrics` of the work from now on.
    #[must_use]
    pub fn with_metrics(mut self, metrics: CgroupMetrics) -> Self {
        metrics.version(self.tree.cgroups.version());
        self.tree.metrics = metrics;
        self
    }

    /// Serves requests until all handles are gone.
    pub async fn run(mut self) {
        let mut recheck = tokio::time::interval_at(tokio::time::Instant::now() + RECHECK, RECHECK);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Receiving, ticking and joining lose nothing when another arm wins.
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => break,
                },
                _ = recheck.tick() => {
                    self.enforce(true).await;
                    self.share_out().await;
                }
                Some(_) = self.jobs.join_next() => {}
            }
        }
        while self.jobs.join_next().await.is_some() {}
    }

    async fn serve(&mut self, request: Request) {
        match request {
            Request::Ensure { pod, answer } => {
                let class = pod_qos_class(&pod);
                let requests = resources::pod_requests(pod.spec());
                let requests_milli = resources::cpu_milli(&requests);
                self.pods.insert(pod.uid().clone(), Entry { class, requests_milli });
                self.share_out().await;
                let limits = limits::pod_limits(pod.spec(), class, &self.rules);
                let tree = self.tree.clone();
                self.jobs.spawn(async move {
                    let _ = answer.send(tree.make_pod(pod.uid(), class, limits).await);
                });
            }
            Request::Remove { uid, answer } => {
                let class = self.pods.remove(&uid).map(|entry| entry.class);
                let tree = self.tree.clone();
                self.jobs.spawn(async move {
                    let _ = answer.send(tree.remove_pod(&uid, class).await);
                });
            }
            Request::RemoveOrphans { known, answer } => {
                // Listed before the next request is taken: whatever is made later is not in here.
                let listed = match self.tree.pod_cgroups().await {
                    Ok(listed) => listed,
                    Err(error) => {
                        let _ = answer.send(Err(CmError::List(error)));
                        return;
                    }
                };
                let is_orphan = |(uid, _): &(PodUid, QosClass)| {
                    !known.contains(uid) && !self.pods.contains_key(uid)
                };
                let orphans = listed.into_iter().filter(is_orphan).collect();
                let tree = self.tree.clone();
                self.jobs.spawn(async move {
                    let _ = answer.send(Ok(tree.remove_orphans(orphans).await));
                });
            }
        }
    }

    /// Gives the Burstable class shares for what its pods request, when that changed.
    async fn share_out(&mut self) {
        let burstable = self.pods.values().filter(|entry| entry.class == QosClass::Burstable);
        let requests = burstable.map(|entry| entry.requests_milli).fold(0_i64, i64::saturating_add);
        let shares = Some(limits::shares_of(requests));
        if self.burstable_shares == shares {
            return;
        }
        let wanted = CgroupLimits { cpu_shares: shares, ..CgroupLimits::default() };
        match self.tree.update(self.tree.names.qos(QosClass::Burstable), wanted).await {
            Ok(()) => self.burstable_shares = shares,
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "cannot share CPU out to burstable pods");
            }
        }
    }

    /// Limits all pods together, once it succeeded never again. `announced` is false when nothing
    /// but CPU is enforced, which is not worth an event.
    async fn enforce(&mut self, announced: bool) {
        if !self.enforcement_due {
            return;
        }
        let done = self.tree.update(self.tree.names.kubepods(), self.node_limits.clone()).await;
        self.enforcement_due = done.is_err();
        if announced {
            self.announce.enforcement(&done);
        }
    }
}

impl Tree {
    async fn make_top(&self, rules: &LimitRules) -> Result<(), CgroupError> {
        self.ensure(self.names.kubepods(), CgroupLimits::default()).await?;
        for class in [QosClass::Burstable, QosClass::BestEffort] {
            let mut limits = limits::class_limits(class, 0, &rules.huge_page_sizes);
            if class == QosClass::Burstable {
                // After a restart the pods are still running: their shares stand until counted.
                limits.cpu_shares = None;
            }
            self.ensure(self.names.qos(class), limits).await?;
        }
        Ok(())
    }

    async fn make_pod(
        &self,
        uid: &PodUid,
        class: QosClass,
        limits: CgroupLimits,
    ) -> Result<PathBuf, CmError> {
        let made = self.ensure(self.names.pod(uid, class), limits).await;
        made.map_err(|source| CmError::Ensure { pod: uid.clone(), source })?;
        Ok(self.names.cri_parent(uid, class))
    }

    /// Without a class, as after a restart, the pod is looked for in all of them.
    async fn remove_pod(&self, uid: &PodUid, class: Option<QosClass>) -> Result<(), CmError> {
        for class in class.map_or(CLASSES.to_vec(), |class| vec![class]) {
            self.remove(self.names.pod(uid, class)).await?;
        }
        Ok(())
    }

    /// The pods that have a cgroup, with the class it stands in.
    async fn pod_cgroups(&self) -> Result<Vec<(PodUid, QosClass)>, CgroupError> {
        let mut found = Vec::new();
        for class in CLASSES {
            let parent = self.names.qos(class);
            let names = self.blocking(move |cgroups| cgroups.children(&parent)).await?;
            found.extend(names.iter().filter_map(|name| Some((self.names.pod_of(name)?, class))));
        }
        Ok(found)
    }

    async fn remove_orphans(&self, orphans: Vec<(PodUid, QosClass)>) -> SweptOrphans {
        let mut swept = SweptOrphans::default();
        for (uid, class) in orphans {
            match self.remove(self.names.pod(&uid, class)).await {
                Ok(()) => swept.removed.push(uid),
                Err(error) => swept.stuck.push(error),
            }
        }
        swept
    }

    /// Kills and removes until nothing is left. Killed processes take a moment to go, so the first
    /// try often is not the last.
    async fn remove(&self, path: PathBuf) -> Result<(), CmError> {
        let mut wait = REMOVE_WAIT;
        for attempt in 1.. {
            let target = path.clone();
            let destroy = move |cgroups: &dyn Cgroups| kill_and_remove(cgroups, &target);
            match self.timed(CgroupOperation::Destroy, destroy).await {
                Ok(()) => return Ok(()),
                Err(source) if attempt == REMOVE_TRIES => {
                    return Err(CmError::Remove { path, source });
                }
                Err(_) => tokio::time::sleep(wait).await,
            }
            wait *= 4;
        }
        Ok(())
    }

    async fn ensure(&self, path: PathBuf, limits: CgroupLimits) -> Result<(), CgroupError> {
        let ensure = move |cgroups: &dyn Cgroups| cgroups.ensure(&path, &limits);
        self.timed(CgroupOperation::Create, ensure).await
    }

    /// The same for a cgroup that is there.
    async fn update(&self, path: PathBuf, limits: CgroupLimits) -> Result<(), CgroupError> {
        let ensure = move |cgroups: &dyn Cgroups| cgroups.ensure(&path, &limits);
        self.timed(CgroupOperation::Update, ensure).await
    }

    async fn timed(
        &self,
        operation: CgroupOperation,
        call: impl FnOnce(&dyn Cgroups) -> Result<(), CgroupError> + Send + 'static,
    ) -> Result<(), CgroupError> {
        let began = tokio::time::Instant::now();
        let done = self.blocking(call).await;
        self.metrics.worked(operation, began.elapsed());
        done
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Cgroups) -> Result<T, CgroupError> + Send + 'static,
    ) -> Result<T, CgroupError> {
        let cgroups = Arc::clone(&self.cgroups);
        let joined = tokio::task::spawn_blocking(move || call(&*cgroups)).await;
        joined.unwrap_or_else(|error| {
            let path = self.names.kubepods().display().to_string();
            Err(CgroupError::Io { action: "work on", path, source: std::io::Error::other(error) })
        })
    }
}

fn kill_and_remove(cgroups: &dyn Cgroups, path: &Path) -> Result<(), CgroupError> {
    if !cgroups.pids(path)?.is_empty() {
        cgroups.kill(path)?;
    }
    cgroups.remove(path)
}

impl Announce {
    fn enforcement(&mut self, done: &Result<(), CgroupError>) {
        let (warning, reason, message) = match done {
            Ok(()) => (
                false,
                reason::node_event::NODE_ALLOCATABLE_ENFORCED,
                "Updated Node Allocatable limit across pods".to_owned(),
            ),
            Err(error) => {
                if std::mem::replace(&mut self.failed, true) {
                    return;
                }
                let error = Causes(error).to_string();
                tracing::error!(%error, "cannot limit what all pods use");
                let message = format!("Failed to update Node Allocatable Limits: {error}");
                (true, reason::node_event::FAILED_NODE_ALLOCATABLE_ENFORCEMENT, message)
            }
        };
        let object = node_reference(&self.node_name);
        let at = self.machine.now();
        self.events.publish(ApiEvent { object, warning, reason, message, at });
    }
}

#[cfg(test)]
mod tests;

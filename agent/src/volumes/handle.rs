//! What others hold of the volumes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::claims::BoundSource;
use super::content::Gathering;
use super::layout::PodLayout;
use super::ledger::Ledger;
use super::local::{LocalVolumes, Teller};
use super::pod_tokens::PodTokens;
use super::projected;
use super::setup::{self, PreparedVolume, SetUp};
use super::sub_path::{Binder, BoundSubPaths, WantedSubPath};
use super::tear_down::tear_down;
use super::threads::{Hanging, VolumeThreads};
use super::types::{MountedVolumes, SetUpFailure, VolumeError};
use super::wanted::{VolumeKind, WantedVolume, wanted_volumes};
use crate::adapters::linux::pod_files;
use crate::boundary::{Machine, Mounter, ObjectsApi};
use crate::events::EventsHandle;
use crate::metrics::VolumeMetrics;
use crate::model::{Pod, PodUid};
use crate::node::NodeView;
use crate::objects::ObjectsHandle;
use crate::podexec::NodeFacts;
use crate::reason::event;

/// Mode of a managed hosts file (kubelet v1.36).
const HOSTS_MODE: u32 = 0o644;
/// A container of any user may write its last words (kubelet v1.36).
const TERMINATION_LOG_MODE: u32 = 0o666;
const CONTAINER_DIR_MODE: u32 = 0o750;

/// What the volumes slice works with.
#[derive(Clone)]
pub struct VolumesDeps {
    /// `--root-dir`.
    pub root_dir: PathBuf,
    pub mounter: Arc<dyn Mounter>,
    pub api: Arc<dyn ObjectsApi>,
    pub objects: ObjectsHandle,
    pub machine: Arc<dyn Machine>,
    pub node: Arc<NodeFacts>,
    pub threads: VolumeThreads,
    /// The Node, whose labels say which PersistentVolumes it reaches.
    pub view: watch::Receiver<NodeView>,
    pub events: EventsHandle,
    pub metrics: VolumeMetrics,
}

/// State of one pod's volumes. Its lock is held while they are worked on, so that making,
/// refreshing and removing never meet.
#[derive(Default)]
pub(super) struct PodVolumes {
    pub pod: Option<Pod>,
    pub mounted: Option<Arc<MountedVolumes>>,
    pub tokens: PodTokens,
    /// What failed last; it is told once.
    pub failing: Option<Vec<String>>,
    /// Nothing is to be made for the pod any more, even while what there is cannot be removed.
    pub released: bool,
    /// Work that did not end in time. Nothing else is done for the pod while it goes on.
    pub hanging: Option<Hanging>,
}

#[derive(Default)]
pub(super) struct PodEntry {
    state: tokio::sync::Mutex<PodVolumes>,
    /// When a token of the pod is to be renewed next.
    renewal: Mutex<Option<Timestamp>>,
}

type Entry = Arc<PodEntry>;

pub(super) struct Shared {
    pub deps: VolumesDeps,
    pods: Mutex<HashMap<PodUid, Entry>>,
    pub locals: LocalVolumes,
    pub ledger: Ledger,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct VolumesHandle {
    pub(super) shared: Arc<Shared>,
}

impl VolumesHandle {
    pub(super) fn new(mut deps: VolumesDeps) -> Self {
        // Mounts are looked up by path, and the mount table holds paths without links.
        deps.root_dir = pod_files::canonical(&deps.root_dir);
        let (locals, ledger) = (LocalVolumes::default(), Ledger::default());
        Self { shared: Arc::new(Shared { deps, pods: Mutex::default(), locals, ledger }) }
    }

    /// Makes the pod's directory and every volume its containers mount, and registers its objects.
    /// Returns at once when they are there; a changed pod object has its downward API files
    /// written anew. Errors name every volume that is not ready; the others stay.
    pub async fn ensure_mounted(&self, pod: &Pod) -> Result<Arc<MountedVolumes>, VolumeError> {
        let entry = self.entry(pod.uid());
        let mut state = entry.state.lock().await;
        // Whoever makes a container may hold an older state than the one last written.
        let known = state.pod.take();
        let pod = known.as_ref().filter(|known| is_newer(known, pod)).unwrap_or(pod);
        let same = known.as_ref().is_some_and(|known| is_same(known, pod));
        state.pod = Some(pod.clone());
        let wanted = wanted_volumes(pod, self.allocatable_memory());
        // A new ephemeral container may mount more than was asked for before.
        let all_there = |mounted: &&Arc<MountedVolumes>| {
            wanted.iter().all(|volume| mounted.get(&volume.name).is_some())
        };
        let mounted = state.mounted.as_ref().filter(all_there).cloned();
        if let (Some(mounted), true) = (&mounted, same) {
            return Ok(Arc::clone(mounted));
        }
        self.shared.deps.objects.register(pod).await;
        if let Some(mounted) = mounted {
            // Containers run on what is there; a refresh that fails is tried again by the task.
            self.refresh_locked(pod, &entry, &mut state).await;
            return Ok(mounted);
        }
        let made = self.set_up(pod, wanted, (&*entry, &mut *state)).await;
        // The caller tells.
        state.failing = made.as_ref().err().map(VolumeError::event_messages);
        let mounted = Arc::new(made?);
        state.mounted = Some(Arc::clone(&mounted));
        Ok(mounted)
    }

    /// Unmounts and removes all of the pod's directory; call when no container of it runs. Done
    /// twice is done once, and a pod that noded does not know is removed as well.
    pub async fn release(&self, uid: &PodUid) -> Result<(), VolumeError> {
        let entry = self.entry(uid);
        let mut state = entry.state.lock().await;
        let (root, mounter) = (self.root().to_owned(), Arc::clone(&self.shared.deps.mounter));
        let owned = uid.clone();
        let began = Instant::now();
        // From here on nobody may take them for present, however this ends.
        let hanging = state.hanging.take();
        *state = PodVolumes { released: true, hanging, ..PodVolumes::default() };
        *entry.renewal() = None;
        let work = move || tear_down(&root, &owned, mounter.as_ref());
        self.shared.deps.threads.run("removing volumes", &mut state.hanging, work).await?;
        for plugin in self.shared.ledger.forget(uid) {
            self.shared.deps.metrics.unmounted(plugin, began.elapsed());
        }
        self.shared.deps.objects.unregister(uid).await;
        self.lock_pods().remove(uid);
        Ok(())
    }

    /// Makes parts of the pod's volumes present for a container that is about to be created, and
    /// returns where each is. A part that changed since the last time is replaced.
    pub async fn bind_sub_paths(
        &self,
        pod: &Pod,
        container: &str,
        wanted: Vec<WantedSubPath>,
    ) -> Result<BoundSubPaths, VolumeError> {
        if wanted.is_empty() {
            return Ok(BoundSubPaths::new());
        }
        let entry = self.entry(pod.uid());
        let mut state = entry.state.lock().await;
        // They were there a moment ago, so the pod has just been released.
        let mounted = state.mounted.clone().ok_or(VolumeError::Cancelled)?;
        let layout = PodLayout::new(self.root(), pod.uid())?;
        let (mounter, container) = (Arc::clone(&self.shared.deps.mounter), container.to_owned());
        let work = move || {
            let binder =
                Binder { layout: &layout, mounter: mounter.as_ref(), container: &container };
            let mut bound = BoundSubPaths::new();
            for part in &wanted {
                // Whoever uses the part misses its volume by name.
                if let Some(volume) = mounted.get(&part.volume) {
                    bound.insert(part.index, binder.bind(&volume.host_path, part)?);
                }
            }
            Ok(bound)
        };
        self.shared.deps.threads.run("mounting sub paths", &mut state.hanging, work).await
    }

    /// Pods that have a directory on disk, known or not; in no order. After a start these are the
    /// pods an earlier noded left: their mounts are found again by `ensure_mounted`, or removed by
    /// `release`.
    pub async fn known_pod_dirs(&self) -> Result<Vec<PodUid>, VolumeError> {
        let root = self.root().to_owned();
        blocking(move || setup::pod_dirs(&root)).await
    }

    /// Writes the managed hosts file of the pod and returns its path. An existing one is written
    /// in place, for running containers have it mounted.
    pub async fn write_hosts_file(
        &self,
        uid: &PodUid,
        text: String,
    ) -> Result<PathBuf, VolumeError> {
        let path = PodLayout::new(self.root(), uid)?.hosts_file();
        blocking(move || match pod_files::write_in_place(&path, &text, HOSTS_MODE) {
            Ok(()) => Ok(path),
            Err(source) => Err(VolumeError::Io { action: "write", path, source }),
        })
        .await
    }

    /// The hosts file of the node, which one of a host-network pod begins with.
    pub async fn node_hosts_file(&self) -> Result<String, VolumeError> {
        let path = PathBuf::from("/etc/hosts");
        blocking(move || match pod_files::read_text(&path) {
            Ok(text) => Ok(text),
            Err(source) => Err(VolumeError::Io { action: "read", path, source }),
        })
        .await
    }

    /// Makes the file for the last words of a new instance of a container:
    /// `pods/<uid>/containers/<name>/<8 hex digits>`.
    pub async fn create_termination_log(
        &self,
        uid: &PodUid,
        container: &str,
    ) -> Result<PathBuf, VolumeError> {
        let dir = PodLayout::new(self.root(), uid)?.container(container)?;
        let (id, _) = uuid::Uuid::new_v4().as_u64_pair();
        let path = dir.join(format!("{:08x}", id >> 32));
        blocking(move || {
            let made = pod_files::create_dir_all(&dir, CONTAINER_DIR_MODE)
                .and_then(|()| pod_files::create_file(&path, TERMINATION_LOG_MODE));
            match made {
                Ok(()) => Ok(path),
                Err(source) => Err(VolumeError::Io { action: "create", path, source }),
            }
        })
        .await
    }

    /// Pods that volumes are made for.
    pub(super) fn pods(&self) -> Vec<PodUid> {
        self.lock_pods().keys().cloned().collect()
    }

    /// Pods with a token to renew, and when.
    pub(super) fn renewals(&self) -> Vec<(PodUid, Timestamp)> {
        let renewal = |(uid, entry): (&PodUid, &Entry)| Some((uid.clone(), (*entry.renewal())?));
        self.lock_pods().iter().filter_map(renewal).collect()
    }

    /// How users hear of a pod's volumes.
    pub(super) fn teller(&self) -> Teller {
        let deps = &self.shared.deps;
        Teller { events: deps.events.clone(), machine: Arc::clone(&deps.machine) }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.deps.machine.now()
    }

    /// Writes the pod's files anew where their content has changed, and renews its tokens when it
    /// is time. Nothing happens for a pod that nobody has asked volumes for.
    pub(super) async fn refresh(&self, uid: &PodUid) {
        let Some(entry) = self.lock_pods().get(uid).cloned() else { return };
        let mut state = entry.state.lock().await;
        if let Some(pod) = state.pod.clone() {
            self.refresh_locked(&pod, &entry, &mut state).await;
        }
    }

    /// Takes a new state of a pod: what changed shows in its files. Volumes that an earlier noded
    /// made are kept fresh from now on; a pod that has none yet is left to whoever runs it.
    pub(super) async fn update(&self, pod: &Pod) {
        let is_known = self.lock_pods().contains_key(pod.uid());
        if !is_known && !self.has_dir(pod.uid()).await {
            return;
        }
        let entry = self.entry(pod.uid());
        let mut state = entry.state.lock().await;
        if state.released || state.pod.as_ref().is_some_and(|known| is_newer(known, pod)) {
            return;
        }
        match state.pod.as_ref().map(|known| is_same(known, pod)) {
            Some(true) => state.pod = Some(pod.clone()),
            // It was released while this waited for its turn.
            None if !self.has_dir(pod.uid()).await => {
                drop(state);
                drop(entry);
                self.forget_unused(pod.uid());
            }
            Some(false) | None => {
                state.pod = Some(pod.clone());
                self.shared.deps.objects.register(pod).await;
                self.refresh_locked(pod, &entry, &mut state).await;
            }
        }
    }

    async fn has_dir(&self, uid: &PodUid) -> bool {
        let Ok(layout) = PodLayout::new(self.root(), uid) else { return false };
        blocking(move || Ok(pod_files::exists(layout.dir()))).await.unwrap_or(false)
    }

    /// Drops an entry that nobody holds but the map.
    fn forget_unused(&self, uid: &PodUid) {
        let mut pods = self.lock_pods();
        if pods.get(uid).is_some_and(|entry| Arc::strong_count(entry) == 1) {
            pods.remove(uid);
        }
    }

    async fn refresh_locked(&self, pod: &Pod, entry: &PodEntry, state: &mut PodVolumes) {
        let mut wanted = wanted_volumes(pod, self.allocatable_memory());
        wanted.retain(|volume| matches!(volume.kind, VolumeKind::Files(_)));
        if wanted.is_empty() {
            return;
        }
        let made = self.set_up(pod, wanted, (entry, state)).await;
        let failing = made.err().map(|error| error.event_messages());
        if let Some(messages) = failing.as_ref().filter(|now| state.failing.as_ref() != Some(*now))
        {
            tracing::warn!(pod = %pod.full_name(), ?messages, "cannot refresh volumes");
            let teller = self.teller();
            for message in messages {
                teller.warn(pod, event::FAILED_MOUNT, message.clone());
            }
        }
        state.failing = failing;
    }

    async fn set_up(
        &self,
        pod: &Pod,
        wanted: Vec<WantedVolume>,
        (entry, state): (&PodEntry, &mut PodVolumes),
    ) -> Result<MountedVolumes, VolumeError> {
        let now = self.now();
        let layout = PodLayout::new(self.root(), pod.uid())?;
        let gathering = Gathering { deps: &self.shared.deps, layout: &layout, pod, now };
        let (gathered, mut failures) = gathering.gather(wanted, &mut state.tokens).await;
        *entry.renewal() = state.tokens.due(pod, now);
        let set_up = SetUp {
            layout,
            mounter: Arc::clone(&self.shared.deps.mounter),
            group: projected::ownership(pod).group,
            huge_page_sizes: self.shared.deps.node.huge_page_sizes.clone(),
            now,
        };
        let is_local = |volume: &PreparedVolume| {
            let source = volume.bound.as_ref().map(|bound| &bound.source);
            matches!(source, Some(BoundSource::Local { .. }))
        };
        let found = join_all(gathered.into_iter().map(|volume| self.with_bound(pod, volume)));
        let (mut locals, mut prepared) = (Vec::new(), Vec::new());
        for volume in found.await {
            match volume {
                Ok(volume) if is_local(&volume) => locals.push(volume),
                Ok(volume) => prepared.push(volume),
                Err(failure) => failures.push(failure),
            }
        }
        let work = move || {
            set_up.pod_dirs()?;
            let each = |volume: PreparedVolume| {
                let began = Instant::now();
                let result = set_up.volume(&volume);
                (volume, result, began.elapsed())
            };
            Ok(prepared.into_iter().map(each).collect::<Vec<_>>())
        };
        let threads = &self.shared.deps.threads;
        let mut made = threads.run("setting up volumes", &mut state.hanging, work).await?;
        for volume in locals {
            let began = Instant::now();
            let result = self.mount_local(pod, &volume).await;
            made.push((volume, result, began.elapsed()));
        }
        let mut mounted = Vec::new();
        for (volume, result, took) in made {
            self.note(pod.uid(), &volume, result.as_ref().ok(), took);
            match result {
                Ok(made) => mounted.push((volume.wanted.name, made)),
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() {
            Ok(mounted.into_iter().collect())
        } else {
            Err(VolumeError::SetUp(failures))
        }
    }

    /// The volume with what is behind its claim, if it has one.
    async fn with_bound(
        &self,
        pod: &Pod,
        volume: PreparedVolume,
    ) -> Result<PreparedVolume, SetUpFailure> {
        match self.bound(pod, &volume.wanted).await {
            Ok(bound) => Ok(PreparedVolume { bound, ..volume }),
            Err(cause) => Err(SetUpFailure { volume: volume.wanted.name, cause }),
        }
    }

    fn entry(&self, uid: &PodUid) -> Entry {
        Arc::clone(self.lock_pods().entry(uid.clone()).or_default())
    }

    fn lock_pods(&self) -> std::sync::MutexGuard<'_, HashMap<PodUid, Entry>> {
        // The map is whole at every moment, so a panic elsewhere leaves it usable.
        self.shared.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(&self) -> &Path {
        &self.shared.deps.root_dir
    }

    fn allocatable_memory(&self) -> u64 {
        self.shared.deps.node.allocatable.memory_bytes
    }
}

impl PodEntry {
    fn renewal(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        // One value is whole at every moment.
        self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing that volumes are made from differs between two states of a pod.
fn is_same(a: &Pod, b: &Pod) -> bool {
    let (a, b) = (a.object(), b.object());
    Arc::ptr_eq(a, b)
        || (a.metadata.labels == b.metadata.labels
            && a.metadata.annotations == b.metadata.annotations
            && a.spec == b.spec)
}

/// Whether `a` is surely a later state than `b` of the same pod. Resource versions count upwards
/// (API contract since v1.35); a static pod has none and never changes.
fn is_newer(a: &Pod, b: &Pod) -> bool {
    let version =
        |pod: &Pod| pod.object().metadata.resource_version.as_deref()?.parse::<u64>().ok();
    matches!((version(a), version(b)), (Some(a), Some(b)) if a > b)
}

/// Runs file operations on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| VolumeError::Cancelled)?
}

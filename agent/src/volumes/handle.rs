//! What others hold of the volumes.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{join, join_all};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::claims::BoundSource;
use super::layout::PodLayout;
use super::ledger::Ledger;
use super::local::LocalVolumes;
use super::projected::{self, SourceContent};
use super::setup::{self, PreparedVolume, SetUp};
use super::sub_path::{Binder, BoundSubPaths, WantedSubPath};
use super::tear_down::tear_down;
use super::threads::{Hanging, VolumeThreads};
use super::token::{Token, TokenError, TokenKey, read_token, token_request};
use super::types::{MountedVolumes, SetUpCause, SetUpFailure, VolumeError};
use super::wanted::{FileSource, FilesVolume, VolumeKind, WantedVolume, wanted_volumes};
use crate::adapters::linux::pod_files;
use crate::boundary::{Machine, Mounter, ObjectsApi};
use crate::events::EventsHandle;
use crate::metrics::VolumeMetrics;
use crate::model::{Pod, PodUid};
use crate::node::NodeView;
use crate::objects::{ObjectSet, ObjectsHandle, References};
use crate::podexec::NodeFacts;
use crate::podexec::field_ref::FieldFacts;

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
    pub tokens: BTreeMap<TokenKey, Token>,
    /// The last refresh failed; the next failure is not logged again.
    pub failing: bool,
    /// Work that did not end in time. Nothing else is done for the pod while it goes on.
    pub hanging: Option<Hanging>,
}

type Entry = Arc<tokio::sync::Mutex<PodVolumes>>;

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
        let mut state = entry.lock().await;
        let known = state.pod.as_ref().map(|known| Arc::clone(known.object()));
        let same_object = known.is_some_and(|known| Arc::ptr_eq(&known, pod.object()));
        if let Some(mounted) = state.mounted.as_ref().filter(|_| same_object) {
            return Ok(Arc::clone(mounted));
        }
        // Again for a changed pod: an ephemeral container may refer to more.
        self.shared.deps.objects.register(pod).await;
        state.pod = Some(pod.clone());
        if let Some(mounted) = state.mounted.clone() {
            // Containers run on what is there; a refresh that fails is tried again by the task.
            self.refresh_locked(pod, &mut state).await;
            return Ok(mounted);
        }
        let wanted = wanted_volumes(pod, self.allocatable_memory());
        let mounted = Arc::new(self.set_up(pod, wanted, &mut state).await?);
        state.mounted = Some(Arc::clone(&mounted));
        Ok(mounted)
    }

    /// Unmounts and removes all of the pod's directory; call when no container of it runs. Done
    /// twice is done once, and a pod that noded does not know is removed as well.
    pub async fn release(&self, uid: &PodUid) -> Result<(), VolumeError> {
        let entry = self.entry(uid);
        let mut state = entry.lock().await;
        let (root, mounter) = (self.root().to_owned(), Arc::clone(&self.shared.deps.mounter));
        let owned = uid.clone();
        let began = Instant::now();
        // From here on nobody may take them for present, however this ends.
        *state = PodVolumes { hanging: state.hanging.take(), ..PodVolumes::default() };
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
        let mut state = entry.lock().await;
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

    /// Pods whose volumes are made.
    pub(super) fn mounted_pods(&self) -> Vec<PodUid> {
        self.lock_pods().keys().cloned().collect()
    }

    /// Writes the pod's files anew where their content has changed, and renews its tokens when it
    /// is time. Nothing happens for a pod that is not mounted. Waits while its volumes are worked
    /// on.
    pub(super) async fn refresh(&self, uid: &PodUid) {
        let Some(entry) = self.lock_pods().get(uid).cloned() else { return };
        let mut state = entry.lock().await;
        self.refresh_mounted(&mut state).await;
    }

    /// The same, but nothing happens while the pod's volumes are worked on.
    pub(super) async fn refresh_idle(&self, uid: &PodUid) {
        let Some(entry) = self.lock_pods().get(uid).cloned() else { return };
        if let Ok(mut state) = entry.try_lock() {
            self.refresh_mounted(&mut state).await;
        }
    }

    async fn refresh_mounted(&self, state: &mut PodVolumes) {
        let pod = state.pod.clone().filter(|_| state.mounted.is_some());
        if let Some(pod) = pod {
            self.refresh_locked(&pod, state).await;
        }
    }

    async fn refresh_locked(&self, pod: &Pod, state: &mut PodVolumes) {
        let mut wanted = wanted_volumes(pod, self.allocatable_memory());
        wanted.retain(|volume| matches!(volume.kind, VolumeKind::Files(_)));
        if wanted.is_empty() {
            return;
        }
        match self.set_up(pod, wanted, state).await {
            Ok(_) => state.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut state.failing, true) {
                    let messages = error.event_messages().join("; ");
                    tracing::warn!(pod = %pod.full_name(), messages, "cannot refresh volumes");
                }
            }
        }
    }

    async fn set_up(
        &self,
        pod: &Pod,
        wanted: Vec<WantedVolume>,
        state: &mut PodVolumes,
    ) -> Result<MountedVolumes, VolumeError> {
        let now = self.shared.deps.machine.now();
        let tokens = &state.tokens;
        let gathered = join_all(wanted.into_iter().map(async |wanted| {
            let result = self.prepare(pod, wanted.clone(), tokens, now).await;
            result.map_err(|cause| SetUpFailure { volume: wanted.name, cause })
        }))
        .await;
        let (mut prepared, mut failures) = (Vec::new(), Vec::new());
        for result in gathered {
            match result {
                Ok((volume, renewed)) => {
                    state.tokens.extend(renewed);
                    prepared.push(volume);
                }
                Err(failure) => failures.push(failure),
            }
        }
        let set_up = SetUp {
            layout: PodLayout::new(self.root(), pod.uid())?,
            mounter: Arc::clone(&self.shared.deps.mounter),
            group: projected::ownership(pod).group,
            huge_page_sizes: self.shared.deps.node.huge_page_sizes.clone(),
            now,
        };
        let is_local = |volume: &PreparedVolume| {
            let source = volume.bound.as_ref().map(|bound| &bound.source);
            matches!(source, Some(BoundSource::Local { .. }))
        };
        let (locals, prepared): (Vec<_>, Vec<_>) = prepared.into_iter().partition(is_local);
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

    /// The volume with its files, and the tokens fetched for them.
    async fn prepare(
        &self,
        pod: &Pod,
        wanted: WantedVolume,
        tokens: &BTreeMap<TokenKey, Token>,
        now: Timestamp,
    ) -> Result<(PreparedVolume, BTreeMap<TokenKey, Token>), SetUpCause> {
        let VolumeKind::Files(files) = &wanted.kind else {
            let bound = self.bound(pod, &wanted).await?;
            return Ok((PreparedVolume { wanted, payload: None, bound }, BTreeMap::new()));
        };
        let references = references(files);
        let keys = token_keys(files);
        let (objects, tokens) = join(
            self.shared.deps.objects.fetch(pod.namespace(), &references),
            join_all(keys.into_iter().map(|key| self.token(pod, key, tokens, now))),
        )
        .await;
        let objects: ObjectSet = objects?;
        let tokens = tokens.into_iter().collect::<Result<BTreeMap<_, _>, TokenError>>()?;
        let node = &self.shared.deps.node;
        let fields = FieldFacts::of(pod, &node.host_ips, node.allocatable);
        let content = SourceContent { objects: &objects, tokens: &tokens, fields: &fields };
        let payload = projected::files_payload(pod, files, content, projected::ownership(pod))?;
        Ok((PreparedVolume { wanted, payload: Some(payload), bound: None }, tokens))
    }

    /// The known token, or a new one when it is time to renew. While a renewal fails the old one
    /// serves as long as it holds.
    async fn token(
        &self,
        pod: &Pod,
        key: TokenKey,
        known: &BTreeMap<TokenKey, Token>,
        now: Timestamp,
    ) -> Result<(TokenKey, Token), TokenError> {
        let old = known.get(&key);
        if let Some(old) = old.filter(|old| now < old.renew_at(pod)) {
            return Ok((key, old.clone()));
        }
        let account = pod.spec().service_account_name.as_deref().unwrap_or("default");
        let request = token_request(pod, &key);
        let api = &self.shared.deps.api;
        let answer = match api.request_token(pod.namespace(), account, &request).await {
            Ok(answer) => read_token(answer, &key),
            Err(error) => Err(TokenError::Request(error)),
        };
        match (answer, old) {
            (Ok(token), _) => Ok((key, token)),
            (Err(error), Some(old)) if !old.is_expired(now) => {
                tracing::warn!(pod = %pod.full_name(), %error, "cannot renew token");
                Ok((key, old.clone()))
            }
            (Err(error), _) => Err(error),
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

fn references(files: &FilesVolume) -> References {
    let mut references = References::default();
    for source in &files.sources {
        match source {
            FileSource::ConfigMap { name, .. } => {
                references.config_maps.insert(name.clone());
            }
            FileSource::Secret { name, .. } => {
                references.secrets.insert(name.clone());
            }
            FileSource::DownwardApi(_) | FileSource::Token { .. } | FileSource::Unsupported => {}
        }
    }
    references
}

fn token_keys(files: &FilesVolume) -> Vec<TokenKey> {
    let key = |source: &FileSource| match source {
        FileSource::Token { audience, expiration_seconds, .. } => {
            Some(TokenKey { audience: audience.clone(), expiration_seconds: *expiration_seconds })
        }
        _ => None,
    };
    files.sources.iter().filter_map(key).collect()
}

/// Runs file operations on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| VolumeError::Cancelled)?
}

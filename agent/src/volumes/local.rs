//! Local volumes: a directory of the node, mounted for each pod that uses it.
//!
//! ```text
//! wait for the volume's turn -> look, mount -> hand to fsGroup, unless another pod has it -> note
//! ```
//!
//! The note says that the group was seen to, so that a noded that was killed in between takes it up
//! again. Its data is the user's: it is unmounted with the pod and never deleted.
//! Source: kubelet v1.36 `volume/local/local.go`, `volume/volume_linux.go`.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::claims::{BoundError, BoundVolume};
use super::empty_dir::{PARENT_MODE, failed};
use super::layout::{self, PodLayout};
use super::types::{MountedVolume, SetUpCause};
use crate::adapters::linux::ownership::{Progress, belongs_to_group, group_of, hand_to_group};
use crate::adapters::linux::pod_files::{
    PathKind, create_dir_all, create_file, path_kind, remove_empty_dir,
};
use crate::boundary::{ApiEvent, Machine, MountOption, Mounter};
use crate::events::{EventsHandle, pod_reference};
use crate::model::Pod;
use crate::reason::event;

/// Trees that are handed over at a time: of the threads that may block, most are left to others.
const WALKS: usize = 4;
/// When users hear of a walk for the first time, and how often after that (kubelet v1.36).
const FIRST_WORD: Duration = Duration::from_secs(30);
const NEXT_WORD: Duration = Duration::from_secs(60);
/// Empty files only noded reads.
const NOTE_MODE: u32 = 0o600;
const ON_ROOT_MISMATCH: &str = "OnRootMismatch";

/// One volume to be mounted for a pod.
#[derive(Clone)]
pub(super) struct LocalMount {
    pub layout: PodLayout,
    /// Where the pods of all of this node have their mounts.
    pub pods_dir: PathBuf,
    pub mounter: Arc<dyn Mounter>,
    pub bound: BoundVolume,
    pub path: String,
    pub options: Vec<MountOption>,
    /// `fsGroup`.
    pub group: Option<u32>,
}

/// What is still to be done about the group of a mounted volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    Nothing,
    HandOver(u32),
    /// Another pod has the volume; it belongs to the other group.
    Differs {
        wanted: u32,
        found: u32,
    },
}

/// How users hear of a pod's volumes.
#[derive(Clone)]
pub(super) struct Teller {
    pub events: EventsHandle,
    pub machine: Arc<dyn Machine>,
}

impl Teller {
    pub fn warn(&self, pod: &Pod, reason: &'static str, message: String) {
        let (object, at) = (pod_reference(pod, None), self.machine.now());
        self.events.publish(ApiEvent { object, warning: true, reason, message, at });
    }
}

/// The local volumes in use. Of those that want the same volume at a time one goes first, so that
/// the others find its files handed over.
pub(super) struct LocalVolumes {
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    walks: Semaphore,
}

impl Default for LocalVolumes {
    fn default() -> Self {
        Self { turns: Mutex::default(), walks: Semaphore::new(WALKS) }
    }
}

impl LocalVolumes {
    /// Mounts the volume; done twice is done once. Dropping this future ends a walk soon.
    pub async fn set_up(
        &self,
        pod: &Pod,
        mount: LocalMount,
        teller: &Teller,
    ) -> Result<MountedVolume, SetUpCause> {
        let name = mount.bound.name.clone();
        let turn = self.turn(&name);
        let result = {
            let _mine = turn.lock().await;
            self.set_up_in_turn(pod, mount, teller).await
        };
        drop(turn);
        self.forget_turn(&name);
        result
    }

    async fn set_up_in_turn(
        &self,
        pod: &Pod,
        mount: LocalMount,
        teller: &Teller,
    ) -> Result<MountedVolume, SetUpCause> {
        let target = mount.target()?;
        let read_only = mount.is_read_only();
        let looked = mount.clone();
        match blocking(move || looked.mount()).await? {
            Duty::Nothing => {}
            Duty::HandOver(group) => {
                let policy = pod.spec().security_context.as_ref();
                let policy = policy.and_then(|security| security.fs_group_change_policy.as_deref());
                let only_mismatch = policy == Some(ON_ROOT_MISMATCH);
                self.hand_over(pod, (&target, group), only_mismatch, teller).await?;
                blocking(move || mount.note()).await?;
            }
            Duty::Differs { wanted, found } => {
                let message = format!(
                    "The requested fsGroup is {wanted}, but the volume {} has GID {found}. The \
                     volume may not be shareable.",
                    mount.bound.name
                );
                teller.warn(pod, event::ALREADY_MOUNTED_VOLUME, message);
                blocking(move || mount.note()).await?;
            }
        }
        Ok(MountedVolume { host_path: target, read_only, selinux_relabel: true })
    }

    /// Gives the tree to the group and tells the pod's users when it takes long.
    async fn hand_over(
        &self,
        pod: &Pod,
        (target, group): (&Path, u32),
        only_mismatch: bool,
        teller: &Teller,
    ) -> Result<(), SetUpCause> {
        let progress = Arc::new(Progress::default());
        // Whoever waits no more needs no walk either: the pod is going, or noded is.
        let _stop = StopOnDrop(Arc::clone(&progress));
        let (walked, top) = (Arc::clone(&progress), target.to_owned());
        let walk = async {
            // Never closed.
            let _permit = self.walks.acquire().await;
            blocking(move || {
                if only_mismatch && belongs_to_group(&top, group) {
                    return Ok(());
                }
                let handed = hand_to_group(&top, group, &walked);
                let handed = handed.map_err(failed("set group of files in", &top))?;
                if let Some((file, error, count)) = handed.refused {
                    let path = top.join(file);
                    tracing::warn!(path = %path.display(), %error, count, "files cannot be given to fsGroup");
                }
                Ok(())
            })
            .await
        };
        tokio::pin!(walk);
        let mut next = FIRST_WORD;
        let shown = reported_name(target, pod);
        loop {
            // The walk is polled again after losing; the timer is made anew.
            tokio::select! {
                biased;
                done = &mut walk => return done,
                () = tokio::time::sleep(next) => {
                    let message = match next {
                        FIRST_WORD => slow_text(&shown),
                        _ => {
                            let files = progress.files.load(Ordering::Relaxed);
                            format!("Setting volume ownership for {shown}, processed {files} files.")
                        }
                    };
                    teller.warn(pod, event::VOLUME_PERMISSION_CHANGE_IN_PROGRESS, message);
                    next = NEXT_WORD;
                }
            }
        }
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(name.to_owned()).or_default())
    }

    /// Drops the turns that nobody waits for.
    fn forget_turn(&self, name: &str) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(name).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(name);
        }
    }
}

struct StopOnDrop(Arc<Progress>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// The path from the pod's UID on, as the kubelet's events show it.
fn reported_name(target: &Path, pod: &Pod) -> String {
    let mut parts = target.components();
    while parts.clone().next().is_some_and(|part| part.as_os_str() != pod.uid().as_str()) {
        parts.next();
    }
    parts.as_path().display().to_string()
}

fn slow_text(shown: &str) -> String {
    format!(
        "Setting volume ownership for {shown} is taking longer than expected, consider using \
         OnRootMismatch - https://kubernetes.io/docs/tasks/configure-pod-container/\
         security-context/#configure-volume-permission-and-ownership-change-policy-for-pods"
    )
}

impl LocalMount {
    fn target(&self) -> Result<PathBuf, SetUpCause> {
        let target = self.layout.volume(layout::LOCAL, &self.bound.name);
        target.map_err(|_| SetUpCause::BadName)
    }

    fn is_read_only(&self) -> bool {
        self.bound.read_only || self.options.contains(&MountOption::ReadOnly)
    }

    fn note_path(&self) -> Result<PathBuf, SetUpCause> {
        let note = self.layout.note(layout::LOCAL, &self.bound.name);
        note.map_err(|_| SetUpCause::BadName)
    }

    /// Notes that the group of the volume was seen to.
    fn note(&self) -> Result<(), SetUpCause> {
        let path = self.note_path()?;
        if let Some(parent) = path.parent() {
            create_dir_all(parent, PARENT_MODE).map_err(failed("create", parent))?;
        }
        create_file(&path, NOTE_MODE).map_err(failed("create", &path))
    }

    /// Mounts the directory where it is not mounted yet. Blocking.
    fn mount(&self) -> Result<Duty, SetUpCause> {
        let target = self.target()?;
        let mounts = self.mounter.list(&self.pods_dir)?;
        let is_mounted = mounts.iter().any(|mount| mount.target == target);
        let is_ours =
            |place: &Path| place.ends_with(Path::new(layout::LOCAL).join(&self.bound.name));
        let mut others = mounts.iter().filter(|mount| mount.target != target);
        let elsewhere = others.any(|mount| is_ours(&mount.target));
        if elsewhere && self.bound.exclusive {
            return Err(BoundError::InUse.into());
        }
        if !is_mounted {
            self.check_path()?;
            create_dir_all(&target, PARENT_MODE).map_err(failed("create", &target))?;
            if let Err(error) = self.mounter.bind_directory(Path::new(&self.path), &target) {
                // The error is the news; a directory that stays is used by the next try.
                let _ = remove_empty_dir(&target);
                return Err(error.into());
            }
        }
        let mut options = self.options.clone();
        options.extend(self.bound.read_only.then_some(MountOption::ReadOnly));
        if !options.is_empty() {
            // Also where it was mounted before: noded may have been killed in between.
            self.mounter.restrict(&target, &options)?;
        }
        let Some(group) = self.group.filter(|_| !self.is_read_only()) else {
            return Ok(Duty::Nothing);
        };
        let note = self.note_path()?;
        if path_kind(&note).map_err(failed("read", &note))?.is_some() {
            return Ok(Duty::Nothing);
        }
        if is_mounted || !elsewhere {
            return Ok(Duty::HandOver(group));
        }
        let found = group_of(&target).map_err(failed("read", &target))?;
        if found != group {
            return Ok(Duty::Differs { wanted: group, found });
        }
        self.note()?;
        Ok(Duty::Nothing)
    }

    fn check_path(&self) -> Result<(), SetUpCause> {
        let path = Path::new(&self.path);
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(BoundError::Backsteps(self.path.clone()).into());
        }
        match path_kind(path).map_err(failed("read", path))? {
            Some(PathKind::Directory) => Ok(()),
            Some(PathKind::BlockDevice) => Err(BoundError::BlockDevice(self.path.clone()).into()),
            Some(_) => Err(BoundError::WrongKind.into()),
            None => Err(BoundError::Missing(self.path.clone()).into()),
        }
    }
}

/// Runs file operations on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SetUpCause> + Send + 'static,
) -> Result<T, SetUpCause> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SetUpCause::Cancelled)?
}

#[cfg(test)]
mod tests;

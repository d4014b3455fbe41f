//! What pods leave on the node, and how it is removed.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::plan::Excess;
use crate::adapters::linux::log_files;
use crate::cm::CmHandle;
use crate::model::PodUid;
use crate::podexec::Executor;
use crate::telemetry::Causes;
use crate::user_namespaces::UserNamespaces;
use crate::volumes::VolumesHandle;

/// Something could not be looked at or removed. The text is complete and names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LeftoverError(pub String);

impl LeftoverError {
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(Causes(error).to_string())
    }

    fn io(action: &str, path: &Path, error: &io::Error) -> Self {
        Self(format!("cannot {action} {}: {error}", path.display()))
    }
}

/// The slices that hold what pods leave behind, as the collector sees them. Removing what is gone
/// is success.
#[async_trait]
pub trait Remains: Send + Sync {
    /// Pods that have a directory below the root directory.
    async fn pod_dirs(&self) -> Result<Vec<PodUid>, LeftoverError>;
    /// Unmounts the pod's volumes and removes its directory.
    async fn remove_pod_dir(&self, uid: &PodUid) -> Result<(), LeftoverError>;
    /// Kills and removes the cgroups of all pods but these; answers whose, and what is left.
    async fn remove_cgroups(
        &self,
        known: HashSet<PodUid>,
    ) -> Result<(Vec<PodUid>, Vec<LeftoverError>), LeftoverError>;
    /// Names of the pods' log directories.
    async fn log_dirs(&self) -> Result<Vec<String>, LeftoverError>;
    async fn remove_log_dir(&self, name: &str) -> Result<(), LeftoverError>;
    /// Names of the links to container logs that lead nowhere.
    async fn broken_links(&self) -> Result<Vec<String>, LeftoverError>;
    async fn remove_link(&self, name: &str) -> Result<(), LeftoverError>;
    /// Removes dead containers with their logs, and sandboxes, from the runtime.
    async fn remove_dead(&self, excess: &Excess) -> Result<(), LeftoverError>;
}

/// The real ones.
pub struct NodeRemains {
    pub volumes: VolumesHandle,
    pub cm: CmHandle,
    pub executor: Executor,
    pub user_namespaces: UserNamespaces,
    /// `<namespace>_<name>_<uid>` directories.
    pub pod_logs_dir: PathBuf,
    /// Flat links to container logs.
    pub container_logs_dir: PathBuf,
}

#[async_trait]
impl Remains for NodeRemains {
    async fn pod_dirs(&self) -> Result<Vec<PodUid>, LeftoverError> {
        self.volumes.known_pod_dirs().await.map_err(|error| LeftoverError::of(&error))
    }

    async fn remove_pod_dir(&self, uid: &PodUid) -> Result<(), LeftoverError> {
        self.volumes.release(uid).await.map_err(|error| LeftoverError::of(&error))?;
        self.user_namespaces.release(uid).await;
        Ok(())
    }

    async fn remove_cgroups(
        &self,
        known: HashSet<PodUid>,
    ) -> Result<(Vec<PodUid>, Vec<LeftoverError>), LeftoverError> {
        let swept = self.cm.remove_orphans(known).await;
        let swept = swept.map_err(|error| LeftoverError::of(&error))?;
        Ok((swept.removed, swept.stuck.iter().map(|error| LeftoverError::of(error)).collect()))
    }

    async fn log_dirs(&self) -> Result<Vec<String>, LeftoverError> {
        let listed = log_files::directories(self.pod_logs_dir.clone()).await;
        listed.map_err(|error| LeftoverError::io("list", &self.pod_logs_dir, &error))
    }

    async fn remove_log_dir(&self, name: &str) -> Result<(), LeftoverError> {
        let removed = log_files::remove_tree(self.pod_logs_dir.clone(), name.to_owned()).await;
        removed.map_err(|error| LeftoverError::io("remove", &self.pod_logs_dir.join(name), &error))
    }

    async fn broken_links(&self) -> Result<Vec<String>, LeftoverError> {
        let listed = log_files::broken_links(self.container_logs_dir.clone()).await;
        listed.map_err(|error| LeftoverError::io("list", &self.container_logs_dir, &error))
    }

    async fn remove_link(&self, name: &str) -> Result<(), LeftoverError> {
        let path = self.container_logs_dir.join(name);
        let removed = log_files::remove(path.clone()).await;
        removed.map_err(|error| LeftoverError::io("remove", &path, &error))
    }

    async fn remove_dead(&self, excess: &Excess) -> Result<(), LeftoverError> {
        let pod = (&excess.pod.0, &excess.pod.1);
        let removed = self.executor.remove(pod, &excess.containers, &excess.sandboxes).await;
        removed.map_err(|error| {
            LeftoverError(format!("cannot remove dead containers of pod {}: {error}", pod.0))
        })
    }
}

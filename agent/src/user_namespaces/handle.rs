//! What others hold of the user namespaces.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::allocate::{AllocationError, Allocations};
use super::host_ids::HostIds;
use super::mappings::{self, IdBlock};
use crate::adapters::linux::user_ids;
use crate::model::{Pod, PodUid, RuntimeFeatures};
use crate::telemetry::Causes;
use crate::volumes::PodLayout;

/// Why a pod has no user namespace. The texts are the kubelet's, where it has them.
#[derive(Debug, thiserror::Error)]
pub enum UserNamespaceError {
    #[error("can't set `spec.hostUsers: false`, {}", unsupported(.handler))]
    Unsupported { handler: String },
    #[error("can't set `spec.hostUsers: false`, {}: the handler {handler:?} is not known", unsupported(.handler))]
    UnknownHandler { handler: String },
    #[error("user namespace: {0}")]
    Recorded(AllocationError),
    #[error("create user namespace: {0}")]
    Create(AllocationError),
    #[error("create user namespace: it is not known which ids pod {pod} has: {why}")]
    Unknown { pod: PodUid, why: String },
    #[error("user namespace: cannot use {}", .path.display())]
    File { path: PathBuf, source: io::Error },
}

fn unsupported(handler: &str) -> String {
    match handler {
        "" => "runtime does not support user namespaces".to_owned(),
        name => format!("RuntimeClass handler {name:?} does not support user namespaces"),
    }
}

struct State {
    allocations: Allocations,
    /// Pods whose file cannot be read. Any block may be theirs.
    unknown: BTreeSet<PodUid>,
}

struct Shared {
    root_dir: PathBuf,
    /// Held while files are read and written, so that no block is given out twice.
    state: Mutex<State>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct UserNamespaces {
    shared: Arc<Shared>,
}

impl UserNamespaces {
    /// Takes in the blocks of the pods that an earlier noded left below `root_dir`.
    pub async fn load(root_dir: &Path, ids: HostIds) -> io::Result<Self> {
        let state = State { allocations: Allocations::new(ids), unknown: BTreeSet::new() };
        let shared = Shared { root_dir: root_dir.to_owned(), state: Mutex::new(state) };
        let loaded = Self { shared: Arc::new(shared) };
        let mut state = loaded.shared.state.lock().await;
        let mut names = user_ids::directories(root_dir.join("pods")).await?;
        names.sort();
        for name in names {
            let pod = PodUid::from(name);
            if let Err(error) = loaded.recorded(&mut state, &pod).await {
                tracing::error!(
                    %pod,
                    error = %Causes(&error),
                    "cannot tell which ids a pod has; until it is gone or its file is mended, \
                     no new pod gets a user namespace"
                );
                state.unknown.insert(pod);
            }
        }
        drop(state);
        Ok(loaded)
    }

    /// The ids of the pod, or `None` for a pod with the node's own users. `handler` is the runtime
    /// handler the pod is to run with, `runtime` what the runtime can do as far as it is known.
    pub async fn ensure(
        &self,
        pod: &Pod,
        handler: &str,
        runtime: Option<&RuntimeFeatures>,
    ) -> Result<Option<IdBlock>, UserNamespaceError> {
        if pod.spec().host_users != Some(false) {
            return Ok(None);
        }
        check_support(handler, runtime)?;
        let mut state = self.shared.state.lock().await;
        if let Some(block) = self.recorded(&mut state, pod.uid()).await? {
            state.unknown.remove(pod.uid());
            return Ok(Some(block));
        }
        self.ask_again(&mut state).await?;
        let block = state.allocations.allocate(pod.uid()).map_err(UserNamespaceError::Create)?;
        let path = self.file(pod.uid())?;
        let written = user_ids::write(path.clone(), mappings::render(block)).await;
        if let Err(source) = written {
            state.allocations.release(pod.uid());
            return Err(UserNamespaceError::File { path, source });
        }
        Ok(Some(block))
    }

    /// Gives back what the pod has; call when no process of it is left.
    pub async fn release(&self, pod: &PodUid) {
        let mut state = self.shared.state.lock().await;
        let is_unknown = state.unknown.contains(pod);
        if state.allocations.of(pod).is_none() && !is_unknown {
            return;
        }
        let Ok(path) = self.file(pod) else { return };
        match user_ids::remove(path).await {
            Ok(()) => {
                state.allocations.release(pod);
                state.unknown.remove(pod);
            }
            // The block stays taken, as the file says.
            Err(error) => tracing::warn!(%pod, %error, "cannot release the pod's user namespace"),
        }
    }

    /// The pod's block: as it is known, or as its file says; `None` when it has none.
    async fn recorded(
        &self,
        state: &mut State,
        pod: &PodUid,
    ) -> Result<Option<IdBlock>, UserNamespaceError> {
        if let Some(block) = state.allocations.of(pod) {
            return Ok(Some(block));
        }
        let path = self.file(pod)?;
        let text = user_ids::read(path.clone())
            .await
            .map_err(|source| UserNamespaceError::File { path, source })?;
        let block = mappings::parse(&text.unwrap_or_default())
            .map_err(|error| UserNamespaceError::Recorded(error.into()))?;
        if let Some(block) = block {
            state.allocations.record(pod, block).map_err(UserNamespaceError::Recorded)?;
        }
        Ok(block)
    }

    /// Looks again at the files that could not be read. Errors while one still cannot.
    async fn ask_again(&self, state: &mut State) -> Result<(), UserNamespaceError> {
        while let Some(pod) = state.unknown.first().cloned() {
            if let Err(error) = self.recorded(state, &pod).await {
                return Err(UserNamespaceError::Unknown { pod, why: Causes(&error).to_string() });
            }
            state.unknown.remove(&pod);
        }
        Ok(())
    }

    fn file(&self, pod: &PodUid) -> Result<PathBuf, UserNamespaceError> {
        let layout = PodLayout::new(&self.shared.root_dir, pod);
        layout.map(|layout| layout.dir().join(mappings::FILE)).map_err(|error| {
            UserNamespaceError::File {
                path: self.shared.root_dir.join("pods"),
                source: io::Error::other(error.to_string()),
            }
        })
    }
}

fn check_support(
    handler: &str,
    runtime: Option<&RuntimeFeatures>,
) -> Result<(), UserNamespaceError> {
    let handler = handler.to_owned();
    let handlers = runtime.map(|runtime| &runtime.handlers).filter(|known| !known.is_empty());
    // A runtime that tells no handlers is one of before there were user namespaces.
    let Some(handlers) = handlers else { return Err(UserNamespaceError::Unsupported { handler }) };
    match handlers.get(&handler) {
        None => Err(UserNamespaceError::UnknownHandler { handler }),
        Some(can) if !can.user_namespaces => Err(UserNamespaceError::Unsupported { handler }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;

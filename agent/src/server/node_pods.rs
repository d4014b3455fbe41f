//! What the server's handlers look pods up in.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::{Pod, PodUid, RuntimePod, RuntimePods};
use crate::pleg::PlegHandle;
use crate::podsource::DesiredPods;
use crate::podworker::WorkerStates;
use crate::status::StatusHandle;

/// The pods of this node as the slices publish them. Cheap to clone.
#[derive(Clone)]
pub struct NodePods {
    pub desired: watch::Receiver<Arc<DesiredPods>>,
    pub workers: watch::Receiver<Arc<WorkerStates>>,
    pub pleg: PlegHandle,
    pub status: StatusHandle,
}

impl NodePods {
    /// The pod of that name: a wanted one, else one that is being ended. `uid` empty takes any;
    /// the UID of a mirror pod means the static pod that it reflects.
    pub fn find(&self, namespace: &str, name: &str, uid: &str) -> Option<Pod> {
        let desired = Arc::clone(&self.desired.borrow());
        let named = |pod: &&Pod| pod.namespace() == namespace && pod.name() == name;
        let mirror = desired.mirror_pods.values().any(|mirror| mirror.uid().as_str() == uid);
        let asked =
            |pod: &&Pod| uid.is_empty() || pod.uid().as_str() == uid || (mirror && pod.is_static());
        let wanted = desired.pods.values().find(|pod| named(pod) && asked(pod)).cloned();
        wanted.or_else(|| {
            let workers = Arc::clone(&self.workers.borrow());
            let known = workers.values().filter_map(|worker| worker.pod.as_ref());
            known.filter(|pod| named(pod) && asked(pod)).max_by_key(created).cloned()
        })
    }

    /// All pods that are wanted here, and those that are still being ended.
    pub fn all(&self) -> Vec<Pod> {
        let desired = Arc::clone(&self.desired.borrow());
        let workers = Arc::clone(&self.workers.borrow());
        let ending = workers.values().filter_map(|worker| worker.pod.as_ref());
        let ending = ending.filter(|pod| !desired.pods.contains_key(pod.uid()));
        desired.pods.values().chain(ending).cloned().collect()
    }

    /// What the runtime was last seen to hold of the pod.
    pub fn runtime_pod(&self, uid: &PodUid) -> Option<Arc<RuntimePod>> {
        self.pleg.cached(uid)
    }

    /// What the runtime was last seen to hold of all pods; `None` before it was listed once.
    pub fn runtime_pods(&self) -> Option<Arc<RuntimePods>> {
        self.pleg.subscribe().borrow().clone()
    }
}

fn created(pod: &&Pod) -> Option<jiff::Timestamp> {
    pod.object().metadata.creation_timestamp.as_ref().map(|time| time.0)
}

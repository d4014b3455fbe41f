//! Pure. States of the sources, and their merge into `DesiredPods`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;

use crate::boundary::PodWatchEvent;
use crate::model::{Pod, PodFullName, PodSource, PodUid};

/// Annotation the API copy of a static pod carries (API v1).
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// All pods this node should run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredPods {
    pub pods: HashMap<PodUid, Pod>,
    /// Reflections of static pods in the API. They are never run; whoever owns the static pods
    /// keeps them in step.
    pub mirror_pods: HashMap<PodFullName, Pod>,
    /// Whether every source has delivered a complete state at least once. While false, a pod that
    /// is not in `pods` may still be wanted.
    pub all_synced: bool,
}

/// What one source last said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceSnapshot {
    pods: HashMap<PodUid, Pod>,
    /// UIDs repeated since a list began; `None` while no list is under way.
    relisted: Option<HashSet<PodUid>>,
    synced: bool,
}

impl SourceSnapshot {
    /// Takes in one step of the API watch and says whether the pods or `synced` changed. Pods of
    /// other nodes and objects that are no pods count as absent. The newest step about a UID
    /// holds, whatever resource version it carries.
    pub fn apply(&mut self, event: PodWatchEvent, node_name: &str) -> bool {
        match event {
            PodWatchEvent::Restarted => {
                self.relisted = Some(HashSet::new());
                false
            }
            PodWatchEvent::Applied(object) => self.put(object, node_name),
            PodWatchEvent::Deleted(uid) => self.remove(&uid),
            PodWatchEvent::Synced => self.complete(),
        }
    }

    fn put(&mut self, object: Arc<api::Pod>, node_name: &str) -> bool {
        let uid = object.metadata.uid.as_deref().map(PodUid::from);
        let ours = Pod::new(object, PodSource::Api)
            .filter(|pod| pod.spec().node_name.as_deref() == Some(node_name));
        let Some(pod) = ours else {
            return uid.is_some_and(|uid| self.remove(&uid));
        };
        if let Some(relisted) = &mut self.relisted {
            relisted.insert(pod.uid().clone());
        }
        if self.pods.get(pod.uid()) == Some(&pod) {
            return false;
        }
        self.pods.insert(pod.uid().clone(), pod);
        true
    }

    fn remove(&mut self, uid: &PodUid) -> bool {
        if let Some(relisted) = &mut self.relisted {
            relisted.remove(uid);
        }
        self.pods.remove(uid).is_some()
    }

    fn complete(&mut self) -> bool {
        let before = (self.pods.len(), self.synced);
        if let Some(relisted) = self.relisted.take() {
            self.pods.retain(|uid, _| relisted.contains(uid));
            self.synced = true;
        }
        before != (self.pods.len(), self.synced)
    }
}

/// The pods of all sources. When two sources claim a UID the one with the higher precedence has it:
/// file before HTTP before the API server. `all_synced` holds when every source in `sources` has
/// synced, so also for none.
pub fn merge<'a>(sources: impl IntoIterator<Item = &'a SourceSnapshot>) -> DesiredPods {
    let mut desired = DesiredPods { all_synced: true, ..DesiredPods::default() };
    for source in sources {
        desired.all_synced &= source.synced;
        for pod in source.pods.values() {
            if is_mirror(pod) {
                desired.mirror_pods.insert(pod.full_name().clone(), pod.clone());
                continue;
            }
            let known = desired.pods.get(pod.uid()).map(Pod::source);
            if known.is_none_or(|known| precedence(pod.source()) > precedence(known)) {
                desired.pods.insert(pod.uid().clone(), pod.clone());
            }
        }
    }
    desired
}

fn precedence(source: PodSource) -> u8 {
    match source {
        PodSource::File => 2,
        PodSource::Http => 1,
        PodSource::Api => 0,
    }
}

fn is_mirror(pod: &Pod) -> bool {
    pod.source() == PodSource::Api
        && pod
            .object()
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|annotations| annotations.contains_key(MIRROR_ANNOTATION))
}

#[cfg(test)]
mod tests;

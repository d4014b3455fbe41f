//! Pure. States of the sources, and their merge into `DesiredPods`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;

use super::static_pod::CONFIG_MIRROR;
use crate::boundary::PodWatchEvent;
use crate::model::{Pod, PodFullName, PodSource, PodUid};

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
    /// Whether the API server's pods were listed once, so that a mirror pod that is not in
    /// `mirror_pods` does not exist.
    pub api_synced: bool,
}

impl DesiredPods {
    /// The mirror pod that reflects just this static pod; `None` for any other pod, and while the
    /// mirror is of another version or being deleted.
    pub fn mirror_of(&self, pod: &Pod) -> Option<&Pod> {
        let mirror = self.mirror_pods.get(pod.full_name()).filter(|_| pod.is_static())?;
        (mirrors(mirror, pod) && mirror.deletion_requested().is_none()).then_some(mirror)
    }
}

/// Whether `mirror` was made from `pod` as it is now.
pub(super) fn mirrors(mirror: &Pod, pod: &Pod) -> bool {
    let hash = pod.config_hash();
    hash.is_some() && mirror.annotation(CONFIG_MIRROR) == hash
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
    /// The complete state of a source that tells it as a whole.
    pub fn complete_with(pods: impl IntoIterator<Item = Pod>) -> Self {
        let pods = pods.into_iter().map(|pod| (pod.uid().clone(), pod)).collect();
        Self { pods, relisted: None, synced: true }
    }

    /// Whether the source has delivered a complete state at least once.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

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
        // Pods that run already are judged before new ones, so all of them have to be there.
        for pod in source.pods.values().filter(|_| source.synced) {
            if is_mirror(pod) {
                put_mirror(&mut desired.mirror_pods, pod);
                continue;
            }
            let known = desired.pods.get(pod.uid()).map(Pod::source);
            let wins = |known| source_precedence(pod.source()) > source_precedence(known);
            if known.is_none_or(wins) {
                desired.pods.insert(pod.uid().clone(), pod.clone());
            }
        }
    }
    desired
}

/// While a list is under way a mirror pod that is gone may still be here beside its successor; the
/// younger one counts.
fn put_mirror(mirrors: &mut HashMap<PodFullName, Pod>, pod: &Pod) {
    let created = |pod: &Pod| pod.object().metadata.creation_timestamp.as_ref().map(|time| time.0);
    let known = mirrors.get(pod.full_name());
    if known.is_none_or(|known| (created(known), known.uid()) < (created(pod), pod.uid())) {
        mirrors.insert(pod.full_name().clone(), pod.clone());
    }
}

/// Which source's word counts, the highest first.
pub(super) fn source_precedence(source: PodSource) -> u8 {
    match source {
        PodSource::File => 2,
        PodSource::Http => 1,
        PodSource::Api => 0,
    }
}

fn is_mirror(pod: &Pod) -> bool {
    !pod.is_static() && pod.annotation(CONFIG_MIRROR).is_some()
}

#[cfg(test)]
mod tests;

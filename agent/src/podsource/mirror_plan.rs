//! Pure. Which mirror pods to create, replace or delete.
//! Source: Kubernetes v1.36 `pkg/kubelet/pod/mirror_client.go`, `kubelet.go`.
//!
//! | static pod | mirror pod | step |
//! |---|---|---|
//! | wanted | none | create |
//! | wanted | of another hash, or being deleted | replace |
//! | wanted | in step | - |
//! | gone, still ending | any | - |
//! | gone | any | delete, once all sources have spoken |

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::merge::{DesiredPods, mirrors, source_precedence};
use super::static_pod::CONFIG_MIRROR;
use crate::model::{Pod, PodFullName, PodUid};
use crate::podworker::WorkerStates;

#[cfg(test)]
mod tests;

/// What to do about one mirror pod.
#[derive(Clone, Debug, PartialEq)]
pub enum MirrorStep {
    Create(Box<api::Pod>),
    /// Delete the one with this UID, then create.
    Replace(PodUid, Box<api::Pod>),
    Delete(PodUid),
}

/// The steps by pod. `node` is the Node object, which owns the mirror pods: none is created while
/// it is unknown or being deleted, nor before the API server's pods have been listed. A static pod
/// that waits for its predecessor's end leaves the mirror to it.
pub fn plan_mirrors(
    desired: &DesiredPods,
    workers: &WorkerStates,
    node: Option<&api::Node>,
) -> BTreeMap<PodFullName, MirrorStep> {
    let mut steps = BTreeMap::new();
    if !desired.api_synced {
        return steps;
    }
    let statics = statics_by_name(desired);
    let owner = node.filter(|node| node.metadata.deletion_timestamp.is_none()).and_then(owner);
    for (name, pod) in &statics {
        let Some(owner) = &owner else { break };
        if ends_here(workers, name, Some(pod.uid())) {
            continue;
        }
        let object = || Box::new(mirror_object(pod, owner));
        match desired.mirror_pods.get(*name) {
            None => {
                steps.insert((*name).clone(), MirrorStep::Create(object()));
            }
            Some(mirror) if mirror.deletion_requested().is_some() || !mirrors(mirror, pod) => {
                let step = MirrorStep::Replace(mirror.uid().clone(), object());
                steps.insert((*name).clone(), step);
            }
            Some(_) => {}
        }
    }
    for (name, mirror) in desired.mirror_pods.iter().filter(|_| desired.all_synced) {
        if !statics.contains_key(name) && !ends_here(workers, name, None) {
            steps.insert(name.clone(), MirrorStep::Delete(mirror.uid().clone()));
        }
    }
    steps
}

/// The static pods by name, file before HTTP.
fn statics_by_name(desired: &DesiredPods) -> BTreeMap<&PodFullName, &Pod> {
    let mut pods: Vec<&Pod> = desired.pods.values().filter(|pod| pod.is_static()).collect();
    pods.sort_by_key(|pod| source_precedence(pod.source()));
    pods.into_iter().map(|pod| (pod.full_name(), pod)).collect()
}

/// Whether a static pod of this name other than `wanted`, or one that only the runtime knows, is
/// still on the node.
fn ends_here(workers: &WorkerStates, name: &PodFullName, wanted: Option<&PodUid>) -> bool {
    workers.iter().any(|(uid, worker)| {
        worker.full_name == *name
            && Some(uid) != wanted
            && worker.pod.as_ref().is_none_or(Pod::is_static)
    })
}

fn owner(node: &api::Node) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone()?,
        uid: node.metadata.uid.clone()?,
        controller: Some(true),
        block_owner_deletion: None,
    })
}

/// The mirror pod as it is created.
fn mirror_object(pod: &Pod, owner: &OwnerReference) -> api::Pod {
    let mut object = api::Pod::clone(pod.object());
    let hash = pod.config_hash().unwrap_or_default().to_owned();
    object.metadata.annotations.get_or_insert_default().insert(CONFIG_MIRROR.to_owned(), hash);
    object.metadata.owner_references = Some(vec![owner.clone()]);
    // The API server gives the mirror an identity of its own.
    object.metadata.uid = None;
    object
}

//! Pure. Which pods a list shows differently from the cache.

use std::collections::{BTreeSet, HashMap};

use crate::boundary::{ListedContainer, ListedSandbox, ListedState};
use crate::model::{ContainerState, PodFullName, PodUid, RuntimePod, RuntimePods, SandboxState};

#[cfg(test)]
mod tests;

/// A pod reduced to what a list can show of it.
type Outline = BTreeSet<(String, u8)>;

/// Pods whose sandboxes, containers or their states differ between `cache` and the lists, with the
/// name to call them by; a pod that is in only one of the two differs. In order of UID.
pub fn changed_pods(
    cache: &RuntimePods,
    sandboxes: &[ListedSandbox],
    containers: &[ListedContainer],
) -> Vec<(PodUid, PodFullName)> {
    let mut listed: HashMap<&PodUid, (PodFullName, Outline)> = HashMap::new();
    for item in sandboxes {
        let name = || PodFullName::new(&item.namespace, &item.name);
        let entry = listed.entry(&item.pod_uid).or_insert_with(|| (name(), Outline::new()));
        entry.1.insert((item.id.to_string(), u8::from(item.state == SandboxState::Ready)));
    }
    for item in containers {
        let name = || PodFullName::new(&item.namespace, &item.pod_name);
        let entry = listed.entry(&item.pod_uid).or_insert_with(|| (name(), Outline::new()));
        entry.1.insert((item.id.to_string(), listed_code(item.state)));
    }
    let gone = cache
        .iter()
        .filter(|(uid, _)| !listed.contains_key(uid))
        .map(|(uid, pod)| (uid.clone(), pod.full_name.clone()));
    let mut changed: Vec<(PodUid, PodFullName)> = gone.collect();
    for (uid, (name, outline)) in listed {
        if cache.get(uid).is_none_or(|pod| outline_of(pod) != outline) {
            changed.push((uid.clone(), name));
        }
    }
    changed.sort();
    changed
}

fn outline_of(pod: &RuntimePod) -> Outline {
    let sandboxes = pod
        .sandboxes
        .iter()
        .map(|sandbox| (sandbox.id.to_string(), u8::from(sandbox.state == SandboxState::Ready)));
    let containers = pod
        .containers
        .iter()
        .map(|container| (container.id.to_string(), state_code(&container.state)));
    sandboxes.chain(containers).collect()
}

fn listed_code(state: ListedState) -> u8 {
    match state {
        ListedState::Created => 2,
        ListedState::Running => 3,
        ListedState::Exited => 4,
        ListedState::Unknown => 5,
    }
}

fn state_code(state: &ContainerState) -> u8 {
    listed_code(listed_state(state))
}

/// The state as a list would show it.
pub(super) fn listed_state(state: &ContainerState) -> ListedState {
    match state {
        ContainerState::Created => ListedState::Created,
        ContainerState::Running { .. } => ListedState::Running,
        ContainerState::Exited(_) => ListedState::Exited,
        ContainerState::Unknown => ListedState::Unknown,
    }
}

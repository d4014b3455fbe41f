//! Pure. Whether the pod's sandbox serves.

use crate::model::{Pod, RuntimePod, Sandbox, SandboxId, SandboxState};

#[cfg(test)]
mod tests;

/// What is to be said of the pod's sandboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SandboxVerdict<'a> {
    Serves(&'a SandboxId),
    /// A new one is needed, with this attempt number.
    Replace {
        attempt: u32,
    },
}

/// Judges the pod's sandboxes.
///
/// | newest sandbox | verdict |
/// |---|---|
/// | none | attempt 0 |
/// | not ready | next attempt |
/// | two or more are ready | next attempt |
/// | host network differs from the spec | next attempt |
/// | pod network, no address | next attempt |
/// | otherwise | serves |
pub(super) fn judge<'a>(pod: &Pod, runtime: &'a RuntimePod) -> SandboxVerdict<'a> {
    let Some(newest) = runtime.newest_sandbox() else {
        return SandboxVerdict::Replace { attempt: 0 };
    };
    let ready = runtime.sandboxes.iter().filter(|sandbox| is_ready(sandbox)).count();
    let serves = is_ready(newest)
        && ready == 1
        && newest.host_network == pod.host_network()
        && (newest.host_network || !newest.ips.is_empty());
    if serves {
        return SandboxVerdict::Serves(&newest.id);
    }
    let highest = runtime.sandboxes.iter().map(|sandbox| sandbox.attempt).max().unwrap_or(0);
    SandboxVerdict::Replace { attempt: highest + 1 }
}

/// Sandboxes that may still hold a network or a process.
pub(super) fn ready_sandboxes(runtime: &RuntimePod) -> Vec<SandboxId> {
    let ready = runtime.sandboxes.iter().filter(|sandbox| is_ready(sandbox));
    ready.map(|sandbox| sandbox.id.clone()).collect()
}

/// Sandboxes that were replaced and hold no container.
pub(super) fn empty_replaced(runtime: &RuntimePod) -> Vec<SandboxId> {
    let replaced = runtime.sandboxes.iter().skip(1).filter(|sandbox| !is_ready(sandbox));
    let is_empty = |sandbox: &&Sandbox| runtime.containers.iter().all(|c| c.sandbox != sandbox.id);
    replaced.filter(is_empty).map(|sandbox| sandbox.id.clone()).collect()
}

fn is_ready(sandbox: &Sandbox) -> bool {
    sandbox.state == SandboxState::Ready
}

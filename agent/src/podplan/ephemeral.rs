//! Pure. Ephemeral containers: started once, whenever the sandbox serves, and never again.

use std::time::Duration;

use k8s_openapi::api::core::v1 as api;

use super::HeldBack;
use super::containers::{Entry, Need, Start, need_of_created, start_unless_held};
use super::look::{Look, may_run};
use crate::model::{Container, ContainerId, ContainerKind, ContainerState};
use crate::reason;

#[cfg(test)]
mod tests;

/// What the pod's ephemeral containers need. None of it says anything about the pod.
pub(super) fn ephemeral(look: Look<'_>) -> impl Iterator<Item = Entry<'_>> {
    let specs = look.pod.ephemeral_containers().iter();
    specs.map(move |spec| Entry::new(ContainerKind::Ephemeral, spec, need(look, spec)))
}

/// | newest instance | need |
/// |---|---|
/// | running or unknown | keep |
/// | created in the serving sandbox, never started | start it |
/// | created otherwise, or exited | done |
/// | none, but the published status shows one | done |
/// | none, and no sandbox serves | not due |
/// | none, and its target runs or it names none | start |
/// | none, and its target does not run | held back |
fn need<'a>(look: Look<'a>, spec: &'a api::Container) -> Need<'a> {
    match look.newest(&spec.name) {
        Some(newest) if may_run(newest) => return Need::Keep(newest),
        Some(newest)
            if newest.state == ContainerState::Created && look.serving == Some(&newest.sandbox) =>
        {
            return need_of_created(look, spec, newest, newest.attempt + 1);
        }
        Some(_) => return Need::Done,
        None => {}
    }
    if look.published(ContainerKind::Ephemeral, &spec.name).is_some() {
        return Need::Done;
    }
    if look.serving.is_none() {
        return Need::NotDue;
    }
    let target = match target(look, spec) {
        Ok(target) => target,
        Err(held) => return Need::Later(held),
    };
    match start_unless_held(look, spec, 0, Duration::ZERO) {
        Need::Start(start) => Need::Start(Start { target, ..start }),
        held => held,
    }
}

/// The running container whose processes it is to see; `None` when it names none. One that does
/// not run yet, or between two runs, is waited for.
fn target<'a>(look: Look<'a>, spec: &api::Container) -> Result<Option<&'a ContainerId>, HeldBack> {
    let Some(name) = look.pod.ephemeral_target(&spec.name).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    match look.newest(name).filter(|container: &&Container| container.is_running()) {
        Some(running) => Ok(Some(&running.id)),
        None => Err(HeldBack {
            name: spec.name.clone(),
            reason: reason::CREATE_CONTAINER_CONFIG_ERROR,
            message: format!("unable to find target container {name}"),
            until: None,
        }),
    }
}

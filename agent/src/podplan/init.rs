//! Pure. Which init container or sidecar is due.
//!
//! Init containers run one after the other in the order of the spec, each until it exits with 0.
//! A sidecar among them is passed as soon as it has started, and runs on. The way is gone once in
//! each sandbox:
//!
//! ```text
//! init-1 ──exit 0──> sidecar ──started──> init-2 ──exit 0──> regular containers
//!                       └── restarted whenever it ends, until the pod ends
//! ```
//!
//! How far a pod has come is read from the newest sandbox: whatever has begun there has passed all
//! that stand before it. Dead containers can be removed behind our back, so what was published
//! counts too.

use k8s_openapi::api::core::v1 as api;

use super::containers::{Entry, Need, last_exit_code, need, need_of_fresh};
use super::look::Look;
use super::restart::runs_again;
use crate::model::{ContainerKind, is_sidecar};

#[cfg(test)]
mod tests;

/// How far the pod has come on its way to its regular containers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Preparation<'a> {
    /// The init containers in the order of the spec.
    pub entries: Vec<Entry<'a>>,
    pub stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Something has to run or to start before the regular containers.
    Underway,
    /// The regular containers may run, after the starts among the entries.
    Ready,
    /// An init container failed for good.
    Failed,
}

/// What the init containers and sidecars of the pod need.
pub(super) fn prepare(look: Look<'_>) -> Preparation<'_> {
    let specs = look.pod.spec().init_containers.as_deref().unwrap_or_default();
    let begun = specs.iter().rposition(|spec| has_begun(look, spec));
    let prepared = is_prepared(look);
    if !prepared && has_failed(look, specs, begun) {
        let entries = specs.iter().map(|spec| entry(spec, passed(look, spec))).collect();
        return Preparation { entries, stage: Stage::Failed };
    }
    if look.serving.is_some() && prepared {
        let entries = specs.iter().map(|spec| entry(spec, passed(look, spec))).collect();
        return Preparation { entries, stage: Stage::Ready };
    }
    // In a new sandbox the way begins anew.
    let front = begun.filter(|_| look.serving.is_some());
    let mut open = true;
    let mut entries = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let need = match front {
            Some(front) if index < front => passed(look, spec),
            _ if !open => not_due(look, spec),
            Some(front) if index == front => need(look, ContainerKind::Init, spec),
            _ => need_of_fresh(look, ContainerKind::Init, spec),
        };
        if front.is_none_or(|front| index >= front) {
            open = open && lets_pass(look, spec, &need);
        }
        entries.push(entry(spec, need));
    }
    let stage = if open { Stage::Ready } else { Stage::Underway };
    Preparation { entries, stage }
}

fn entry<'a>(spec: &'a api::Container, need: Need<'a>) -> Entry<'a> {
    Entry::new(ContainerKind::Init, spec, need)
}

/// Whether the newest sandbox has seen the init container.
fn has_begun(look: Look<'_>, spec: &api::Container) -> bool {
    look.was_here(ContainerKind::Init, &spec.name)
}

/// Whether the newest sandbox has seen a regular container, which proves that the way to them was
/// gone to its end.
fn is_prepared(look: Look<'_>) -> bool {
    let mut specs = look.pod.spec().containers.iter();
    specs.any(|spec| look.was_here(ContainerKind::Regular, &spec.name))
}

/// Whether an init container ended badly and does not run again. A pod that lost its sandbox is
/// judged by what was in it; one of which the runtime holds nothing, by what was published.
fn has_failed(look: Look<'_>, specs: &[api::Container], begun: Option<usize>) -> bool {
    let ended_badly = |spec: &api::Container| {
        let kind = ContainerKind::Init;
        let code = match look.newest(&spec.name) {
            Some(newest) => {
                let here = look.newest_here(&spec.name).filter(|c| !look.is_replaced(c));
                here.and(newest.exit()).map(|exit| exit.code)
            }
            None => look.published(kind, &spec.name).map(last_exit_code),
        };
        code.is_some_and(|code| code != 0 && !runs_again(look.pod, kind, spec, code))
    };
    // What stands before the newest one that has begun has done its work.
    specs.iter().skip(begun.unwrap_or(0)).any(ended_badly)
}

/// What an init container needs that others have passed: a sidecar its next run, another one
/// nothing.
fn passed<'a>(look: Look<'a>, spec: &'a api::Container) -> Need<'a> {
    if is_sidecar(spec) {
        return need(look, ContainerKind::Init, spec);
    }
    match look.newest(&spec.name) {
        Some(newest) if newest.is_running() => Need::Keep(newest),
        _ if look.may_run(&spec.name) => Need::StopFirst,
        _ => Need::Done,
    }
}

fn not_due<'a>(look: Look<'a>, spec: &api::Container) -> Need<'a> {
    if look.may_run(&spec.name) { Need::StopFirst } else { Need::NotDue }
}

/// Whether those behind it may go on. A sidecar that counts as started as soon as it runs lets
/// them follow it in the same plan.
fn lets_pass(look: Look<'_>, spec: &api::Container, need: &Need<'_>) -> bool {
    match need {
        Need::Done => true,
        Need::Keep(running) => is_sidecar(spec) && look.has_started(running),
        Need::Start(_) => is_sidecar(spec) && starts_at_once(spec),
        Need::StopFirst | Need::Later(_) | Need::NotDue => false,
    }
}

/// Whether the container counts as started as soon as it runs.
pub(super) fn starts_at_once(spec: &api::Container) -> bool {
    let hooks = spec.lifecycle.as_ref();
    spec.startup_probe.is_none() && hooks.is_none_or(|hooks| hooks.post_start.is_none())
}

//! Pure. What one container needs, of whatever kind.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::HeldBack;
use super::look::{Look, may_run};
use super::restart::{self, NextRun};
use crate::model::{
    Container, ContainerId, ContainerKind, ContainerState, RuntimePod, container_hash,
};
use crate::reason;

#[cfg(test)]
mod tests;

/// What one container of the spec needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Need<'a> {
    /// Runs as it should.
    Keep(&'a Container),
    /// An instance that is not to be kept may run; it has to end before another starts.
    StopFirst,
    /// Is to be started now.
    Start(Start<'a>),
    /// Is to be started later.
    Later(HeldBack),
    /// Waits until those before it have come far enough.
    NotDue,
    /// Has ended and will not run again.
    Done,
}

/// The start of one instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Start<'a> {
    pub attempt: u32,
    pub wait_after: Duration,
    /// An instance that was created and never started.
    pub created: Option<&'a ContainerId>,
    /// The container whose processes an ephemeral one is to see.
    pub target: Option<&'a ContainerId>,
}

/// A container of the spec and what it needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry<'a> {
    pub kind: ContainerKind,
    pub spec: &'a api::Container,
    pub need: Need<'a>,
}

impl<'a> Entry<'a> {
    pub fn new(kind: ContainerKind, spec: &'a api::Container, need: Need<'a>) -> Self {
        Self { kind, spec, need }
    }

    pub fn keeps(&self, container: &Container) -> bool {
        matches!(self.need, Need::Keep(kept) if kept.id == container.id)
    }
}

/// What the regular container or sidecar `spec` needs, and what an init container needs that the
/// newest sandbox has seen, by what the runtime holds under its name.
///
/// | newest instance | need |
/// |---|---|
/// | running | keep, or stop first when it is not as it should be ([`is_to_be_kept`]) |
/// | unknown | stop first |
/// | any, and an older instance may run | stop first |
/// | created in the serving sandbox, never started, same definition | start it |
/// | created otherwise | start the next attempt |
/// | exited, runs again or made room for the next | start, now or after the crash-loop wait |
/// | exited otherwise | done |
/// | none, and none was ever published | start attempt 0 |
/// | none, but the published status shows one | as if it had exited, with its code or 137 |
pub(super) fn need<'a>(look: Look<'a>, kind: ContainerKind, spec: &'a api::Container) -> Need<'a> {
    let Some(newest) = look.newest(&spec.name) else {
        return need_of_lost(look, kind, spec);
    };
    let attempt = next_attempt(look, kind, spec);
    match &newest.state {
        ContainerState::Running { .. } if is_to_be_kept(look, spec, newest) => Need::Keep(newest),
        _ if look.may_run(&spec.name) => Need::StopFirst,
        ContainerState::Running { .. } | ContainerState::Unknown => Need::StopFirst,
        ContainerState::Created => need_of_created(look, spec, newest, attempt),
        ContainerState::Exited(exit)
            if look.is_replaced(newest)
                || restart::runs_again(look.pod, kind, spec, exit.code)
                || (look.has_failed_probe(newest) && restart::restarts_failed(look.pod, spec)) =>
        {
            let cap = look.observation.rules.restart_cap;
            let run = restart::next_run(spec, newest, exit, cap);
            match crash_loop(look, spec, run) {
                Some(held) => Need::Later(held),
                None => start_unless_held(look, spec, attempt, run.wait_after),
            }
        }
        ContainerState::Exited(_) => Need::Done,
    }
}

/// What a container needs whose earlier runs do not count, because they were in an earlier
/// sandbox: to be started, as soon as none of its earlier instances may run.
pub(super) fn need_of_fresh<'a>(
    look: Look<'a>,
    kind: ContainerKind,
    spec: &'a api::Container,
) -> Need<'a> {
    if look.may_run(&spec.name) {
        return Need::StopFirst;
    }
    let handed_on = look.newest(&spec.name).map_or(Duration::ZERO, restart::handed_on);
    start_unless_held(look, spec, next_attempt(look, kind, spec), handed_on)
}

/// A created instance is started, and followed by a new one where it does not fit any more.
pub(super) fn need_of_created<'a>(
    look: Look<'a>,
    spec: &'a api::Container,
    created: &'a Container,
    attempt: u32,
) -> Need<'a> {
    let handed_on = restart::handed_on(created);
    if !is_startable(look, created, spec) {
        return start_unless_held(look, spec, attempt, handed_on);
    }
    match start_unless_held(look, spec, created.attempt, handed_on) {
        Need::Start(start) => Need::Start(Start { created: Some(&created.id), ..start }),
        held => held,
    }
}

/// Whether a running instance stays: it is in the sandbox that serves, its postStart hook has not
/// failed, its name and image are those of the spec, and no probe asks for its end. While its
/// postStart hook runs the last two do not count.
fn is_to_be_kept(look: Look<'_>, spec: &api::Container, running: &Container) -> bool {
    let misplaced = look.serving.is_some_and(|serving| running.sandbox != *serving);
    let redefined = running.spec_hash.as_ref().is_some_and(|hash| *hash != container_hash(spec));
    let failed = look.observation.probes.fatal(running).is_some();
    let unhooked = look.observation.holds.hook_failed.contains(&running.id);
    !misplaced && !unhooked && (look.is_in_post_start(&spec.name) || !(redefined || failed))
}

/// The need of a container of which the runtime holds no instance. Dead containers can be removed
/// behind our back, and a runtime can lose its state; what was published tells whether there was
/// one.
fn need_of_lost<'a>(look: Look<'a>, kind: ContainerKind, spec: &'a api::Container) -> Need<'a> {
    let again = look
        .published(kind, &spec.name)
        .is_none_or(|status| restart::runs_again(look.pod, kind, spec, last_exit_code(status)));
    if again {
        let attempt = next_attempt(look, kind, spec);
        return start_unless_held(look, spec, attempt, Duration::ZERO);
    }
    Need::Done
}

/// The restart count of the next instance: one more than the highest that the runtime or the
/// published status shows, 0 for the first.
pub(super) fn next_attempt(look: Look<'_>, kind: ContainerKind, spec: &api::Container) -> u32 {
    let published = look.published(kind, &spec.name);
    let counted = published.map_or(0, restart_count);
    match look.newest(&spec.name) {
        Some(newest) => newest.attempt.max(counted) + 1,
        None => published.map_or(0, |status| counted + u32::from(!restart_is_counted(status))),
    }
}

/// Whether a created instance is what the spec asks for, in the sandbox that serves.
fn is_startable(look: Look<'_>, created: &Container, spec: &api::Container) -> bool {
    look.serving == Some(&created.sandbox)
        && created.spec_hash.as_ref() == Some(&container_hash(spec))
}

fn crash_loop(look: Look<'_>, spec: &api::Container, run: NextRun) -> Option<HeldBack> {
    (run.not_before > look.now()).then(|| HeldBack {
        name: spec.name.clone(),
        reason: reason::CRASH_LOOP_BACK_OFF,
        message: restart::back_off_message(look.pod, &spec.name, run.wait),
        until: Some(run.not_before),
    })
}

pub(super) fn start_unless_held<'a>(
    look: Look<'a>,
    spec: &api::Container,
    attempt: u32,
    wait_after: Duration,
) -> Need<'a> {
    let held = look.observation.holds.starts.get(&spec.name);
    let rests = |until: Timestamp| until > look.now();
    match held.filter(|held| held.until.is_some_and(rests)) {
        Some(held) => Need::Later(held.clone()),
        None => Need::Start(Start { attempt, wait_after, ..Start::default() }),
    }
}

fn restart_count(status: &api::ContainerStatus) -> u32 {
    u32::try_from(status.restart_count).unwrap_or(0)
}

/// Whether the published count holds the coming restart already: an end that nobody saw is
/// published together with the restart that follows it, and names no container.
fn restart_is_counted(status: &api::ContainerStatus) -> bool {
    let waits = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    waits && last.is_some_and(|exit| exit.container_id.as_deref().unwrap_or_default().is_empty())
}

/// How the published container ended: its exit code, or 137 (kubelet v1.36
/// `ContainerStatusUnknown`) when it was last seen running.
pub(super) fn last_exit_code(status: &api::ContainerStatus) -> i32 {
    const LOST: i32 = 137;
    let terminated = |state: &Option<api::ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.as_ref()).map(|exit| exit.exit_code)
    };
    if status.state.as_ref().is_some_and(|state| state.running.is_some()) {
        return LOST;
    }
    terminated(&status.state).or_else(|| terminated(&status.last_state)).unwrap_or(LOST)
}

/// Instances nobody needs: of each name all that are not the newest, except the newest exited ones,
/// whose logs and exit codes are still shown; at least one of them is kept, `None` keeps all.
pub(super) fn superseded(runtime: &RuntimePod, kept: Option<u32>) -> Vec<ContainerId> {
    let Some(kept) = kept.map(|kept| usize::try_from(kept.max(1)).unwrap_or(usize::MAX)) else {
        return Vec::new();
    };
    let is_superseded = |container: &&Container| {
        let newest = runtime.newest(&container.name);
        let exited = runtime.instances(&container.name).filter(|c| c.exit().is_some());
        let is_kept = newest.is_some_and(|newest| newest.id == container.id)
            || exited.take(kept).any(|exited| exited.id == container.id);
        !is_kept && !may_run(container)
    };
    runtime.containers.iter().filter(is_superseded).map(|c| c.id.clone()).collect()
}

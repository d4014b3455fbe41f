//! Pure. The pod conditions noded owns; all others pass through untouched.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::phase::Phase;
use super::statuses::{Statuses, exit_code};
use crate::model::{Pod, is_sidecar};
use crate::reason;

#[cfg(test)]
mod tests;

/// Condition types written here, in the order a new pod gets them.
pub const OWNED_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Ours when this node disrupts the pod, of others when they do.
const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// Whether noded wrote the condition, so that it may change it.
pub fn is_own(condition: &api::PodCondition) -> bool {
    OWNED_CONDITIONS.contains(&condition.type_.as_str())
        || (condition.type_ == DISRUPTION_TARGET
            && condition.reason.as_deref() == Some(reason::TERMINATION_BY_KUBELET))
}

/// What the conditions are made from.
pub struct ConditionInput<'a> {
    pub pod: &'a Pod,
    pub phase: Phase,
    pub statuses: &'a Statuses,
    /// There is a ready sandbox with its network.
    pub sandbox_ready: bool,
    /// What this node ended the pod for, in words for users, where that is a disruption.
    pub disruption: Option<&'a str>,
    pub previous: &'a [api::PodCondition],
    pub now: Timestamp,
}

/// One condition before it meets the published one.
struct Verdict {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    const YES: Self = Self { holds: true, reason: None, message: None };

    fn no(reason: &'static str, message: Option<String>) -> Self {
        Self { holds: false, reason: Some(reason), message }
    }
}

/// All conditions of the pod: ours newly judged, foreign ones as in `previous`. A condition whose
/// truth did not change keeps its transition time.
pub fn conditions(input: &ConditionInput<'_>) -> Vec<api::PodCondition> {
    let containers_ready = containers_ready(input);
    let ready = ready(input, &containers_ready);
    let verdicts = [
        Verdict { holds: input.sandbox_ready, reason: None, message: None },
        initialized(input),
        ready,
        containers_ready,
        Verdict::YES,
    ];
    let mut out: Vec<api::PodCondition> = OWNED_CONDITIONS
        .iter()
        .zip(verdicts)
        .map(|(kind, verdict)| publish(input, kind, verdict))
        .collect();
    if let Some(message) = input.disruption {
        let verdict = Verdict {
            holds: true,
            reason: Some(reason::TERMINATION_BY_KUBELET),
            message: Some(message.to_owned()),
        };
        out.push(publish(input, DISRUPTION_TARGET, verdict));
    }
    let foreign = |old: &&api::PodCondition| out.iter().all(|own| own.type_ != old.type_);
    let foreign: Vec<_> = input.previous.iter().filter(foreign).cloned().collect();
    out.extend(foreign);
    out
}

fn publish(input: &ConditionInput<'_>, kind: &str, verdict: Verdict) -> api::PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let old = input.previous.iter().find(|old| old.type_ == kind);
    let since =
        old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    let generation = input.pod.generation();
    api::PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        observed_generation: (generation > 0).then_some(generation),
        last_transition_time: since.or(Some(Time(input.now))),
        last_probe_time: None,
    }
}

/// Containers a condition waits for, by what is wrong with them.
#[derive(Default)]
struct Missing<'a> {
    unknown: Vec<&'a str>,
    other: Vec<&'a str>,
}

impl<'a> Missing<'a> {
    fn judge(
        &mut self,
        name: &'a str,
        status: Option<&api::ContainerStatus>,
        accept: impl Fn(&api::ContainerStatus) -> bool,
    ) {
        match status {
            None => self.unknown.push(name),
            Some(status) if !accept(status) => self.other.push(name),
            Some(_) => {}
        }
    }

    /// `None` when nothing is missing.
    fn message(&self, other: &str) -> Option<String> {
        let list = |what: &str, names: &[&str]| {
            (!names.is_empty())
                .then(|| format!("containers with {what} status: [{}]", names.join(" ")))
        };
        let messages: Vec<String> = [list("unknown", &self.unknown), list(other, &self.other)]
            .into_iter()
            .flatten()
            .collect();
        (!messages.is_empty()).then(|| messages.join(", "))
    }
}

/// All init containers are done and all sidecars started, or were once: a sidecar that restarts
/// does not undo it.
fn initialized(input: &ConditionInput<'_>) -> Verdict {
    let statuses = input.statuses;
    let mut missing = Missing::default();
    for spec in input.pod.spec().init_containers.iter().flatten() {
        missing.judge(&spec.name, statuses.init(&spec.name), |status| match is_sidecar(spec) {
            true => status.started == Some(true),
            false => exit_code(status) == Some(0),
        });
    }
    if input.phase == Phase::Succeeded && missing.unknown.is_empty() {
        return Verdict { reason: Some(reason::POD_COMPLETED), ..Verdict::YES };
    }
    match missing.message("incomplete") {
        Some(message) if !statuses.any_regular_ran() => {
            Verdict::no(reason::CONTAINERS_NOT_INITIALIZED, Some(message))
        }
        _ => Verdict::YES,
    }
}

fn containers_ready(input: &ConditionInput<'_>) -> Verdict {
    match input.phase {
        Phase::Succeeded => return Verdict::no(reason::POD_COMPLETED, None),
        Phase::Failed => return Verdict::no(reason::POD_FAILED, None),
        Phase::Pending | Phase::Running => {}
    }
    let (spec, statuses) = (input.pod.spec(), input.statuses);
    let mut missing = Missing::default();
    for spec in spec.init_containers.iter().flatten().filter(|spec| is_sidecar(spec)) {
        missing.judge(&spec.name, statuses.init(&spec.name), |status| status.ready);
    }
    for spec in &spec.containers {
        missing.judge(&spec.name, statuses.regular(&spec.name), |status| status.ready);
    }
    match missing.message("unready") {
        Some(message) => Verdict::no(reason::CONTAINERS_NOT_READY, Some(message)),
        None => Verdict::YES,
    }
}

/// Ready is ContainersReady and every readiness gate.
fn ready(input: &ConditionInput<'_>, containers: &Verdict) -> Verdict {
    if !containers.holds {
        return Verdict {
            holds: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let mut messages = Vec::new();
    for gate in input.pod.spec().readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match input.previous.iter().find(|condition| condition.type_ == *kind) {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate \"{kind}\" does not exist."
            )),
            Some(condition) if condition.status != "True" => messages.push(format!(
                "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        return Verdict::YES;
    }
    Verdict::no(reason::READINESS_GATES_NOT_READY, Some(messages.join(", ")))
}

//! Pure. The pod conditions noded owns; all others pass through untouched.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::phase::Phase;
use crate::model::Pod;
use crate::reason;

#[cfg(test)]
mod tests;

/// Condition types written here, in the order a new pod gets them.
pub const OWNED_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

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
pub fn conditions(
    pod: &Pod,
    phase: Phase,
    statuses: &[api::ContainerStatus],
    sandbox_ready: bool,
    previous: &[api::PodCondition],
    now: Timestamp,
) -> Vec<api::PodCondition> {
    let containers_ready = containers_ready(pod, phase, statuses);
    let ready = ready(pod, &containers_ready, previous);
    let verdicts = [
        Verdict { holds: sandbox_ready, reason: None, message: None },
        Verdict {
            holds: true,
            reason: (phase == Phase::Succeeded).then_some(reason::POD_COMPLETED),
            message: None,
        },
        ready,
        containers_ready,
        Verdict::YES,
    ];
    let mut out: Vec<api::PodCondition> = OWNED_CONDITIONS
        .iter()
        .zip(verdicts)
        .map(|(kind, verdict)| publish(kind, verdict, pod.generation(), previous, now))
        .collect();
    out.extend(
        previous.iter().filter(|old| !OWNED_CONDITIONS.contains(&old.type_.as_str())).cloned(),
    );
    out
}

fn publish(
    kind: &str,
    verdict: Verdict,
    generation: i64,
    previous: &[api::PodCondition],
    now: Timestamp,
) -> api::PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let old = previous.iter().find(|old| old.type_ == kind);
    let since =
        old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    api::PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        observed_generation: (generation > 0).then_some(generation),
        last_transition_time: since.or(Some(Time(now))),
        last_probe_time: None,
    }
}

fn containers_ready(pod: &Pod, phase: Phase, statuses: &[api::ContainerStatus]) -> Verdict {
    match phase {
        Phase::Succeeded => return Verdict::no(reason::POD_COMPLETED, None),
        Phase::Failed => return Verdict::no(reason::POD_FAILED, None),
        Phase::Pending | Phase::Running => {}
    }
    let mut unknown = Vec::new();
    let mut unready = Vec::new();
    for container in &pod.spec().containers {
        match statuses.iter().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    let list = |what: &str, names: &[&str]| {
        (!names.is_empty()).then(|| format!("containers with {what} status: [{}]", names.join(" ")))
    };
    let messages: Vec<String> =
        [list("unknown", &unknown), list("unready", &unready)].into_iter().flatten().collect();
    if messages.is_empty() {
        return Verdict::YES;
    }
    Verdict::no(reason::CONTAINERS_NOT_READY, Some(messages.join(", ")))
}

/// Ready is ContainersReady and every readiness gate.
fn ready(pod: &Pod, containers: &Verdict, previous: &[api::PodCondition]) -> Verdict {
    if !containers.holds {
        return Verdict {
            holds: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let mut messages = Vec::new();
    for gate in pod.spec().readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match previous.iter().find(|condition| condition.type_ == *kind) {
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

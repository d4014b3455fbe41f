//! Pure. The Node's conditions: Ready and the three pressures.
//!
//! Source: kubelet v1.36 `pkg/kubelet/nodestatus/setters.go` and `pkg/kubelet/runtime.go`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::reason::{node_condition as word, node_event as event};

/// How long a pressure condition stays after the pressure was last seen
/// (`evictionPressureTransitionPeriod`, kubelet default, v1.36).
pub const PRESSURE_TRANSITION: Duration = Duration::from_secs(300);

/// Whether the node is under one kind of pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    #[default]
    No,
    Yes,
}

/// When each pressure was last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureHistory {
    last_seen: [Option<Timestamp>; PRESSURES.len()],
}

impl PressureHistory {
    /// Takes one observation in, `under` in the order of memory, disk, process ids, and answers
    /// what to publish: a pressure seen within the transition period counts on.
    pub fn observe(&mut self, under: [bool; 3], now: Timestamp) -> [Pressure; 3] {
        let mut published = [Pressure::No; 3];
        for ((last_seen, under), published) in
            self.last_seen.iter_mut().zip(under).zip(&mut published)
        {
            if under {
                *last_seen = Some(now);
            }
            let recent =
                |seen: &Timestamp| now.duration_since(*seen).unsigned_abs() < PRESSURE_TRANSITION;
            if last_seen.as_ref().is_some_and(recent) {
                *published = Pressure::Yes;
            }
        }
        published
    }
}

/// Types of the conditions that are true.
pub fn pressure_types(pressures: [Pressure; 3]) -> Vec<&'static str> {
    let true_ones = PRESSURES.iter().zip(pressures).filter(|(_, p)| *p == Pressure::Yes);
    true_ones.map(|(words, _)| words.condition).collect()
}

/// Words of one pressure condition: without it and with it.
struct PressureWords {
    condition: &'static str,
    reasons: [&'static str; 2],
    messages: [&'static str; 2],
    events: [&'static str; 2],
}

const PRESSURES: [PressureWords; 3] = [
    PressureWords {
        condition: "MemoryPressure",
        reasons: [word::HAS_SUFFICIENT_MEMORY, word::HAS_INSUFFICIENT_MEMORY],
        messages: [
            "kubelet has sufficient memory available",
            "kubelet has insufficient memory available",
        ],
        events: [event::NODE_HAS_SUFFICIENT_MEMORY, event::NODE_HAS_INSUFFICIENT_MEMORY],
    },
    PressureWords {
        condition: "DiskPressure",
        reasons: [word::HAS_NO_DISK_PRESSURE, word::HAS_DISK_PRESSURE],
        messages: ["kubelet has no disk pressure", "kubelet has disk pressure"],
        events: [event::NODE_HAS_NO_DISK_PRESSURE, event::NODE_HAS_DISK_PRESSURE],
    },
    PressureWords {
        condition: "PIDPressure",
        reasons: [word::HAS_SUFFICIENT_PID, word::HAS_INSUFFICIENT_PID],
        messages: [
            "kubelet has sufficient PID available",
            "kubelet has insufficient PID available",
        ],
        events: [event::NODE_HAS_SUFFICIENT_PID, event::NODE_HAS_INSUFFICIENT_PID],
    },
];

const READY: &str = "Ready";

/// The conditions after `existing`, in its order and with those of others kept as they are; ours
/// that are missing follow in upstream's order, Ready last. `problems` empty means ready. A
/// condition's transition time moves only with its status.
pub fn conditions(
    existing: &[NodeCondition],
    pressures: [Pressure; 3],
    problems: &[String],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let mut conditions = existing.to_vec();
    for (words, pressure) in PRESSURES.iter().zip(pressures) {
        let at = usize::from(pressure == Pressure::Yes);
        let status = ["False", "True"][at];
        let texts = (words.reasons[at], words.messages[at].to_owned());
        set(&mut conditions, words.condition, status, texts, now);
    }
    let (status, texts) = if problems.is_empty() {
        ("True", (word::KUBELET_READY, "kubelet is posting ready status".to_owned()))
    } else {
        ("False", (word::KUBELET_NOT_READY, joined(problems)))
    };
    set(&mut conditions, READY, status, texts, now);
    conditions
}

/// Reasons of the events that go with the change from `before` to `after`. A pressure that appears
/// for the first time is a change, a first Ready is not.
pub fn transition_events(before: &[NodeCondition], after: &[NodeCondition]) -> Vec<&'static str> {
    let mut events = Vec::new();
    for words in &PRESSURES {
        let status = status_of(after, words.condition);
        if status.is_some() && status != status_of(before, words.condition) {
            events.push(words.events[usize::from(status == Some("True"))]);
        }
    }
    let ready = status_of(after, READY);
    if status_of(before, READY).is_some_and(|before| Some(before) != ready) {
        let is_ready = ready == Some("True");
        events.push(if is_ready { event::NODE_READY } else { event::NODE_NOT_READY });
    }
    events
}

/// True when the list says the node is ready.
pub fn is_ready(conditions: &[NodeCondition]) -> bool {
    status_of(conditions, READY) == Some("True")
}

fn status_of<'a>(conditions: &'a [NodeCondition], type_: &str) -> Option<&'a str> {
    conditions.iter().find(|condition| condition.type_ == type_).map(|found| found.status.as_str())
}

fn set(
    conditions: &mut Vec<NodeCondition>,
    type_: &str,
    status: &str,
    (reason, message): (&str, String),
    now: Timestamp,
) {
    let place = conditions.iter().position(|condition| condition.type_ == type_);
    let since = place
        .map(|place| &conditions[place])
        .filter(|existing| existing.status == status)
        .and_then(|existing| existing.last_transition_time.clone());
    let condition = NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(since.unwrap_or(Time(now))),
    };
    match place {
        Some(place) => conditions[place] = condition,
        None => conditions.push(condition),
    }
}

/// Several problems as upstream joins them: one stands alone, more stand in brackets, none twice.
fn joined(problems: &[String]) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for problem in problems {
        if !distinct.contains(&problem.as_str()) {
            distinct.push(problem);
        }
    }
    match distinct.as_slice() {
        [only] => (*only).to_owned(),
        several => format!("[{}]", several.join(", ")),
    }
}

#[cfg(test)]
mod tests;

//! Pure. Whom to end so that a critical pod fits.
//!
//! Source: kubelet v1.36 `preemption/preemption.go`: Guaranteed pods are spared before Burstable
//! ones and these before BestEffort ones, and few victims are better than many. Here a lower
//! priority goes first within a class, no victim is taken that turns out not to be needed, and no
//! critical pod ever is one.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::fit::{Shortage, request};
use crate::boundary::ApiEvent;
use crate::events::pod_reference;
use crate::model::qos::{QosClass, pod_qos_class};
use crate::model::resources::{CPU, MEMORY};
use crate::model::{Pod, PodUid};
use crate::reason::event;

#[cfg(test)]
mod tests;

/// Message of a victim's event and status.
pub const PREEMPTED: &str = "Preempted in order to admit critical pod";

/// Said about a pod that has to make room.
pub fn preemption_event(pod: &Pod, now: Timestamp) -> ApiEvent {
    ApiEvent {
        object: pod_reference(pod, None),
        warning: true,
        reason: event::PREEMPTING,
        message: PREEMPTED.to_owned(),
        at: now,
    }
}

/// What nobody can free, in upstream's spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unmet(Vec<(String, i128)>);

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (resource, amount) in &self.0 {
            write!(f, "(res: {resource}, q: {amount}), ")?;
        }
        write!(f, "]")
    }
}

/// What one pod would free, in the order of the needs.
struct Candidate {
    uid: PodUid,
    frees: Vec<i128>,
    /// Memory and CPU it asks for: of two that serve equally well the smaller one goes.
    size: (i128, i128),
}

/// Pods that are worth the same, least valuable first.
type Worth = (QosClass, i32);

/// The victims among `pods`, none of which could be spared; an error says what is missing when all
/// of them together do not free enough.
pub(super) fn victims(pods: &[Pod], short: &[&Shortage]) -> Result<Vec<PodUid>, Unmet> {
    let needs: Vec<i128> = short.iter().map(|shortage| shortage.missing()).collect();
    let mut groups: BTreeMap<Worth, Vec<Candidate>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.is_critical()) {
        let worth = (pod_qos_class(pod), pod.spec().priority.unwrap_or(0));
        groups.entry(worth).or_default().push(Candidate {
            uid: pod.uid().clone(),
            frees: short.iter().map(|shortage| request(pod, &shortage.resource)).collect(),
            size: (request(pod, MEMORY), request(pod, CPU)),
        });
    }
    let left = less(&needs, groups.values().flatten());
    if !is_met(&left) {
        let names = short.iter().map(|shortage| shortage.resource.clone());
        return Err(Unmet(names.zip(left).filter(|(_, amount)| *amount > 0).collect()));
    }
    let mut groups: Vec<Vec<Candidate>> = groups.into_values().collect();
    let mut chosen: Vec<Candidate> = Vec::new();
    // From the most valuable group down: each gives only what all the cheaper ones cannot.
    while let Some(group) = groups.pop() {
        let cheaper = groups.iter().flatten();
        let needed = less(&needs, chosen.iter().chain(cheaper));
        chosen.extend(pick(group, needed));
    }
    Ok(spare(chosen, &needs))
}

/// Takes pods out of the group until the needs are met, the one that meets most of them first. The
/// group has enough.
fn pick(mut group: Vec<Candidate>, mut needed: Vec<i128>) -> Vec<Candidate> {
    let mut picked = Vec::new();
    while !is_met(&needed) {
        let best = (0..group.len()).min_by(|a, b| {
            let (a, b) = (&group[*a], &group[*b]);
            distance(&needed, a)
                .total_cmp(&distance(&needed, b))
                .then_with(|| (a.size, &a.uid).cmp(&(b.size, &b.uid)))
        });
        let Some(best) = best else { break };
        let taken = group.swap_remove(best);
        needed = less(&needed, [&taken]);
        picked.push(taken);
    }
    picked
}

/// Lets those go without whom the others suffice, the most valuable first, which come first.
fn spare(mut chosen: Vec<Candidate>, needs: &[i128]) -> Vec<PodUid> {
    let mut index = 0;
    while index < chosen.len() {
        let others = chosen.iter().enumerate().filter(|(at, _)| *at != index);
        if is_met(&less(needs, others.map(|(_, other)| other))) {
            chosen.remove(index);
        } else {
            index += 1;
        }
    }
    // The least valuable end first.
    let mut victims: Vec<PodUid> = chosen.into_iter().map(|candidate| candidate.uid).collect();
    victims.reverse();
    victims
}

/// What is still needed after these have ended; 0 where it is enough.
fn less<'a>(needs: &[i128], freed: impl IntoIterator<Item = &'a Candidate>) -> Vec<i128> {
    let mut left = needs.to_vec();
    for candidate in freed {
        for (need, frees) in left.iter_mut().zip(&candidate.frees) {
            *need -= frees;
        }
    }
    left.into_iter().map(|need| need.max(0)).collect()
}

fn is_met(needs: &[i128]) -> bool {
    needs.iter().all(|need| *need <= 0)
}

/// How far the pod is from meeting the needs: the squares of the missing shares.
#[expect(clippy::cast_precision_loss, reason = "only compared, and amounts are far below 2^52")]
fn distance(needs: &[i128], candidate: &Candidate) -> f64 {
    let missing = needs.iter().zip(&candidate.frees).filter(|(need, _)| **need > 0);
    missing.map(|(need, frees)| ((need - frees).max(0) as f64 / *need as f64).powi(2)).sum()
}

//! Pure. Which pods are to be written, and when.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use crate::model::PodUid;

#[cfg(test)]
mod tests;

/// Pods by the moment their write is due, each at most once.
#[derive(Default)]
pub(super) struct WriteQueue {
    due: HashMap<PodUid, Instant>,
    order: BTreeSet<(Instant, PodUid)>,
}

impl WriteQueue {
    /// Brings the pod in for `at`, or forward to it when it was to be later.
    pub fn bring_forward(&mut self, uid: &PodUid, at: Instant) {
        if self.due.get(uid).is_none_or(|due| at < *due) {
            self.remove(uid);
            self.due.insert(uid.clone(), at);
            self.order.insert((at, uid.clone()));
        }
    }

    pub fn remove(&mut self, uid: &PodUid) {
        if let Some(at) = self.due.remove(uid) {
            self.order.remove(&(at, uid.clone()));
        }
    }

    /// When the next write is due.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out the pod that has been due longest at `now`.
    pub fn take_due(&mut self, now: Instant) -> Option<PodUid> {
        let (_, uid) = self.order.first().filter(|(at, _)| *at <= now).cloned()?;
        self.remove(&uid);
        Some(uid)
    }
}

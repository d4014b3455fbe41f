//! Pure. Which pods' volumes are to be looked at next.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Pod, PodUid};

/// What to look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    /// The newest state of the pod, when it has changed.
    pub newest: Option<Pod>,
    /// Its objects may have changed, or a token is due.
    pub sources: bool,
}

/// Pods wait here once each, however often they are asked for, and are worked on one at a time.
#[derive(Debug, Default)]
pub(super) struct RefreshQueue {
    waiting: BTreeMap<PodUid, Look>,
    running: BTreeSet<PodUid>,
}

impl RefreshQueue {
    /// The pod's sources are to be looked at.
    pub fn sources(&mut self, uid: PodUid) {
        self.waiting.entry(uid).or_default().sources = true;
    }

    /// The pod has changed.
    pub fn newest(&mut self, pod: Pod) {
        let look = self.waiting.entry(pod.uid().clone()).or_default();
        look.newest = Some(pod);
    }

    /// The next pod to work on; it is not handed out again before [`Self::done`].
    pub fn next(&mut self) -> Option<(PodUid, Look)> {
        let uid = self.waiting.keys().find(|uid| !self.running.contains(*uid))?.clone();
        let look = self.waiting.remove(&uid)?;
        self.running.insert(uid.clone());
        Some((uid, look))
    }

    pub fn done(&mut self, uid: &PodUid) {
        self.running.remove(uid);
    }
}

#[cfg(test)]
mod tests;

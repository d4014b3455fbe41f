//! What does not count against a node when the start of a pod is judged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::PodUid;

/// Time that starting pods spent on pulls. Cheap to clone.
#[derive(Clone, Default)]
pub struct PodStarts(Arc<Mutex<HashMap<PodUid, Pulls>>>);

/// Pulls of one pod's images so far.
#[derive(Clone, Copy, Default)]
struct Pulls {
    took: Duration,
    /// What lies before counts already: pulls at the same time count once.
    until: Option<Instant>,
}

impl PodStarts {
    /// The pod is new; its pulls count from now until [`Self::end`].
    pub fn begin(&self, uid: &PodUid) {
        self.lock().insert(uid.clone(), Pulls::default());
    }

    /// A pull for the pod ended. Nothing is kept of pods that are not starting.
    pub fn pulled(&self, uid: &PodUid, began: Instant) {
        let now = Instant::now();
        if let Some(pulls) = self.lock().get_mut(uid) {
            let from = pulls.until.map_or(began, |until| until.max(began));
            pulls.took += now.saturating_duration_since(from);
            pulls.until = Some(now);
        }
    }

    /// The pod has started, or never will. How long it waited for pulls; `None` when it was not
    /// starting.
    pub fn end(&self, uid: &PodUid) -> Option<Duration> {
        self.lock().remove(uid).map(|pulls| pulls.took)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PodUid, Pulls>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Signs of life: who gives them and when each last did.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::verdict::Sign;

/// All watched loops. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    loops: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    name: &'static str,
    limit: Duration,
    last: Moment,
}

type Moment = Arc<Mutex<Option<Instant>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Liveness {
    /// Watches a loop that gives a sign at least every `limit` from its first one on.
    #[must_use]
    pub fn watch(&self, name: &'static str, limit: Duration) -> Pulse {
        let last = Moment::default();
        lock(&self.loops).push(Watched { name, limit, last: Arc::clone(&last) });
        Pulse(Some(last))
    }

    /// The last sign of every loop that has begun, in the order in which they were added.
    pub(super) fn signs(&self, now: Instant) -> Vec<Sign> {
        let loops = lock(&self.loops);
        loops
            .iter()
            .filter_map(|watched| {
                let last = (*lock(&watched.last))?;
                let age = now.saturating_duration_since(last);
                Some(Sign { name: watched.name, age, limit: watched.limit })
            })
            .collect()
    }
}

/// What a loop gives its signs with; by default nobody takes them.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Option<Moment>);

impl Pulse {
    /// The loop lives.
    pub fn beat(&self) {
        if let Some(last) = &self.0 {
            *lock(last) = Some(Instant::now());
        }
    }

    /// Whether anybody takes the signs.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.0.is_some()
    }
}

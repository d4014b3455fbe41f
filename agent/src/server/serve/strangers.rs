//! Connections on which nothing was allowed yet: few at once, and the oldest gives way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;

struct Waiting {
    number: u64,
    revoked: CancellationToken,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: VecDeque<Waiting>,
}

/// The strangers of one port, oldest first.
pub(super) struct Strangers {
    queue: Arc<Mutex<Queue>>,
    most: usize,
}

impl Strangers {
    pub(super) fn new(most: usize) -> Self {
        Self { queue: Arc::default(), most }
    }

    /// One more stranger. When there are too many, the oldest one's pass is revoked.
    pub(super) fn admit(&self) -> Pass {
        let mut queue = lock(&self.queue);
        if queue.waiting.len() >= self.most
            && let Some(oldest) = queue.waiting.pop_front()
        {
            oldest.revoked.cancel();
        }
        let number = queue.next;
        queue.next += 1;
        let revoked = CancellationToken::new();
        queue.waiting.push_back(Waiting { number, revoked: revoked.clone() });
        Pass { queue: Arc::clone(&self.queue), number, revoked }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's leave to stay.
pub(super) struct Pass {
    queue: Arc<Mutex<Queue>>,
    number: u64,
    revoked: CancellationToken,
}

impl Pass {
    /// From now on the connection is no stranger's and cannot be revoked.
    pub(super) fn know(&self) {
        let mut queue = lock(&self.queue);
        // The numbers grow from front to back.
        let place = queue.waiting.binary_search_by_key(&self.number, |waiting| waiting.number);
        if let Ok(place) = place {
            queue.waiting.remove(place);
        }
    }

    /// Returns when the connection has to give way.
    pub(super) async fn revoked(&self) {
        self.revoked.cancelled().await;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.know();
    }
}

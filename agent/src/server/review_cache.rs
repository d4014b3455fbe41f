//! Answers of the API server, kept for a while, and one question at a time for each key.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Answers kept (v1.36: 8192 of SubjectAccessReviews); 32 bytes of key and the answer each.
const CAPACITY: usize = 8192;
/// Questions on their way at once; further ones wait. Callers that nobody knows yet can cause
/// them, and must not take all of the connection to the API server.
const AT_ONCE: usize = 64;
/// How long a caller waits for an answer in all (v1.36).
const DEADLINE: Duration = Duration::from_secs(30);

/// A digest of the question.
pub(super) type Key = [u8; 32];

/// An answer and how long it counts; zero is for this once.
pub(super) type Answer<V> = (V, Duration);

/// Why there is no answer. It is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReviewError(pub Arc<str>);

type Asking<V> = Shared<BoxFuture<'static, Result<V, ReviewError>>>;

struct State<V> {
    answers: HashMap<Key, (Instant, V)>,
    asking: HashMap<Key, Asking<V>>,
}

/// Cheap to clone.
pub(super) struct ReviewCache<V> {
    state: Arc<Mutex<State<V>>>,
    room: Arc<Semaphore>,
}

impl<V> Clone for ReviewCache<V> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), room: Arc::clone(&self.room) }
    }
}

impl<V> Default for ReviewCache<V> {
    fn default() -> Self {
        let state = State { answers: HashMap::new(), asking: HashMap::new() };
        Self { state: Arc::new(Mutex::new(state)), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl<V: Clone + Send + Sync + 'static> ReviewCache<V> {
    /// The answer that is kept for `key`, else what `ask` comes to. Callers with the same key share
    /// one question, which goes on when they are gone.
    pub(super) async fn get<F>(&self, key: Key, ask: impl FnOnce() -> F) -> Result<V, ReviewError>
    where
        F: Future<Output = Result<Answer<V>, ReviewError>> + Send + 'static,
    {
        let asking = {
            let mut state = self.state();
            match state.answers.get(&key) {
                Some((until, answer)) if *until > Instant::now() => return Ok(answer.clone()),
                _ => {}
            }
            match state.asking.get(&key) {
                Some(asking) => asking.clone(),
                None => {
                    let asking = self.start(key, ask());
                    state.asking.insert(key, asking.clone());
                    asking
                }
            }
        };
        asking.await
    }

    fn start<F>(&self, key: Key, ask: F) -> Asking<V>
    where
        F: Future<Output = Result<Answer<V>, ReviewError>> + Send + 'static,
    {
        let cache = self.clone();
        let task = tokio::spawn(async move {
            let limited = async {
                let _room = cache.room.acquire().await;
                ask.await
            };
            let found = tokio::time::timeout(DEADLINE, limited).await.unwrap_or_else(|_| {
                let seconds = DEADLINE.as_secs();
                Err(ReviewError(format!("the API server did not answer within {seconds} s").into()))
            });
            cache.keep(key, found)
        });
        let outcome = async move {
            task.await.unwrap_or_else(|error| Err(ReviewError(error.to_string().into())))
        };
        outcome.boxed().shared()
    }

    fn keep(&self, key: Key, found: Result<Answer<V>, ReviewError>) -> Result<V, ReviewError> {
        let mut state = self.state();
        state.asking.remove(&key);
        let (answer, counts_for) = found?;
        if !counts_for.is_zero() {
            let now = Instant::now();
            if state.answers.len() >= CAPACITY {
                make_room(&mut state.answers, now);
            }
            state.answers.insert(key, (now + counts_for, answer.clone()));
        }
        Ok(answer)
    }

    fn state(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what no longer counts; when all still does, what would end first.
fn make_room<V>(answers: &mut HashMap<Key, (Instant, V)>, now: Instant) {
    answers.retain(|_, (until, _)| *until > now);
    if answers.len() < CAPACITY {
        return;
    }
    let first = answers.iter().min_by_key(|(_, (until, _))| *until).map(|(key, _)| *key);
    if let Some(first) = first {
        answers.remove(&first);
    }
}

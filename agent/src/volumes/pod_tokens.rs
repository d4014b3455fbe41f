//! Pure. The tokens that one pod holds, and when the API server is to be asked.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::token::{MAX_JITTER_SECONDS, Token, TokenError, TokenKey, jitter_seconds};
use crate::backoff::{Backoff, BackoffRule};
use crate::model::Pod;

/// How a renewal that failed is tried again. The kubelet (v1.36) tries with each sync of the pod,
/// every 60 to 90 s.
const RETRY: BackoffRule = BackoffRule {
    first: Duration::from_secs(5),
    cap: Duration::from_secs(60),
    forget_after: Duration::from_secs(600),
};

/// Shortest time between two requests for a token that both succeed. A clock that is ahead of the
/// API server's makes every token look old as soon as it comes.
const SETTLED: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
struct Held {
    token: Token,
    /// When the token came, or its renewal failed, and for how long nobody asks after that.
    paused: Option<(Timestamp, Duration)>,
    failing: Option<Backoff>,
}

impl Held {
    /// The end of the pause in force. None is when the clock was set back to before its begin.
    fn pause_end(&self, now: Timestamp) -> Option<Timestamp> {
        let (begin, length) = self.paused?;
        let end = begin + length;
        (begin <= now && now < end).then_some(end)
    }

    fn ask_at(&self, pod: &Pod, now: Timestamp) -> Timestamp {
        let renew_at = self.token.renew_at(pod);
        self.pause_end(now).map_or(renew_at, |end| end.max(renew_at))
    }

    fn serves(&self, pod: &Pod, now: Timestamp) -> bool {
        let has_just_come = self.failing.is_none() && self.pause_end(now).is_some();
        has_just_come || (now < self.ask_at(pod, now) && !self.token.is_expired(now))
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Renewed,
    /// The old token serves on; whether that is news.
    Kept {
        error: TokenError,
        first: bool,
    },
    Failed(TokenError),
}

#[derive(Clone, Debug, Default)]
pub(super) struct PodTokens {
    held: BTreeMap<TokenKey, Held>,
}

impl PodTokens {
    /// Takes a token that was found on disk, unless one of that key is held.
    pub fn adopt(&mut self, key: TokenKey, token: Token) {
        self.held.entry(key).or_insert(Held { token, paused: None, failing: None });
    }

    /// The token to use when it is not yet time to ask for a new one.
    pub fn serving(&self, key: &TokenKey, pod: &Pod, now: Timestamp) -> Option<&Token> {
        self.held.get(key).filter(|held| held.serves(pod, now)).map(|held| &held.token)
    }

    /// Takes the answer to a request of `now`.
    pub fn settle(
        &mut self,
        key: &TokenKey,
        answer: Result<Token, TokenError>,
        pod: &Pod,
        now: Timestamp,
    ) -> Settled {
        let error = match answer {
            Ok(token) => {
                let held = Held { token, paused: Some((now, SETTLED)), failing: None };
                self.held.insert(key.clone(), held);
                return Settled::Renewed;
            }
            Err(error) => error,
        };
        let Some(held) = self.held.get_mut(key) else { return Settled::Failed(error) };
        let first = held.failing.is_none();
        let backoff = match held.failing {
            Some(backoff) => backoff.grown(&RETRY, now),
            None => Backoff::begin(&RETRY, now),
        };
        // Up to half as long again, so that pods that failed together do not come back together.
        let share = u32::try_from(jitter_seconds(pod)).unwrap_or(0);
        let most = u32::try_from(2 * MAX_JITTER_SECONDS).unwrap_or(u32::MAX);
        let wait = backoff.wait() + backoff.wait() * share / most;
        held.paused = Some((now, wait));
        held.failing = Some(backoff);
        if held.token.is_expired(now) {
            return Settled::Failed(TokenError::Expired(Box::new(error)));
        }
        Settled::Kept { error, first }
    }

    /// The held token, whatever its age.
    pub fn get(&self, key: &TokenKey) -> Option<&Token> {
        self.held.get(key).map(|held| &held.token)
    }

    /// When the API server is to be asked next; `None` without tokens.
    pub fn due(&self, pod: &Pod, now: Timestamp) -> Option<Timestamp> {
        self.held.values().map(|held| held.ask_at(pod, now)).min()
    }
}

#[cfg(test)]
mod tests;

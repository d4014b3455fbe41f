//! Waiting for a condition of the real world, with a deadline and the last state in the error.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::daemon::Ended;

/// How often a condition is looked at. Short against what is waited for, long against one look.
const INTERVAL: Duration = Duration::from_millis(25);

/// What one look at the world found.
#[derive(Debug)]
pub enum Look<T> {
    /// The condition holds.
    Met(T),
    /// Not yet; the text describes the state for the error message.
    NotYet(String),
}

/// Looks until the condition is met and returns its value. Errors after `limit` with `what` was
/// waited for and the last state seen. An error of a look counts as a state
/// and is tried again, but not when a program that should run has [`Ended`].
pub async fn until<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Look<T>>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let last = match look().await {
            Ok(Look::Met(value)) => return Ok(value),
            Ok(Look::NotYet(state)) => state,
            Err(error) if error.is::<Ended>() => return Err(error.context(what.to_owned())),
            Err(error) => format!("error: {error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("{what}: not within {limit:?}; last state: {last}");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// [`until`] for a condition that is a plain value: met when `accept` says so.
pub async fn until_value<T, F>(
    what: &str,
    limit: Duration,
    mut observe: impl FnMut() -> F,
    accept: impl Fn(&T) -> bool,
) -> Result<T>
where
    T: Debug,
    F: Future<Output = Result<T>>,
{
    until(what, limit, || {
        let observed = observe();
        async {
            let value = observed.await?;
            Ok(if accept(&value) { Look::Met(value) } else { Look::NotYet(format!("{value:?}")) })
        }
    })
    .await
}

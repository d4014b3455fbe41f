//! Waiting for a moment that may never come.

use tokio::time::Instant;

/// Returns at `at`, at once when that is past; never for `None`. Cancel safe.
pub async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

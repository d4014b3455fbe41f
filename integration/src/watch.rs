//! A watch of the API: events in order, each with the moment it arrived.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::Response;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// One event of a watch.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    /// When it was read from the connection.
    pub at: Instant,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub kind: String,
    /// The object as the event shows it.
    pub object: Value,
}

impl WatchEvent {
    /// Name of the object, empty when it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// A running watch. Dropping it ends the connection.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::UnboundedReceiver<Result<WatchEvent>>,
    reader: JoinHandle<()>,
    /// When the server had accepted the watch.
    pub started: Instant,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Watch {
    /// Follows a watch that the server has accepted. One that the server ends, as it does with
    /// watchers that are too slow for it, goes on by `reopen` from the version seen last.
    pub(crate) fn follow<F, R>(response: Response, reopen: F) -> Self
    where
        F: Fn(String) -> R + Send + 'static,
        R: Future<Output = Result<Response>> + Send,
    {
        // Unbounded, so that a test that looks late still gets true arrival times.
        let (sender, events) = mpsc::unbounded_channel();
        let reader = tokio::spawn(async move {
            if let Err(error) = read_on(response, reopen, &sender).await {
                let _ = sender.send(Err(error));
            }
        });
        Self { events, reader, started: Instant::now() }
    }

    /// The next event; errors when none comes within `limit` or the watch has ended.
    pub async fn next(&mut self, limit: Duration) -> Result<WatchEvent> {
        match tokio::time::timeout(limit, self.events.recv()).await {
            Err(_) => bail!("no event within {limit:?}"),
            Ok(None) => bail!("the watch has ended"),
            Ok(Some(event)) => event,
        }
    }

    /// Reads events until `accept` is true for one and returns it; errors after `limit` with
    /// the last event seen.
    pub async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut accept: impl FnMut(&WatchEvent) -> bool,
    ) -> Result<WatchEvent> {
        let deadline = Instant::now() + limit;
        let mut last = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.next(left).await.with_context(|| {
                let seen = last.as_ref().map_or_else(|| "none".to_owned(), describe);
                format!("{what}: not within {limit:?}; last event: {seen}")
            })?;
            if accept(&event) {
                return Ok(event);
            }
            last = Some(event);
        }
    }

    /// The events that have arrived and were not read yet.
    pub fn arrived(&mut self) -> Vec<WatchEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).filter_map(Result::ok).collect()
    }
}

fn describe(event: &WatchEvent) -> String {
    format!("{} {} {}", event.kind, event.name(), event.object["status"])
}

async fn read_on<F, R>(
    mut response: Response,
    reopen: F,
    sender: &mpsc::UnboundedSender<Result<WatchEvent>>,
) -> Result<()>
where
    F: Fn(String) -> R,
    R: Future<Output = Result<Response>>,
{
    let mut version = 0;
    loop {
        read(response, &mut version, sender).await?;
        if version == 0 {
            return Ok(());
        }
        response = reopen(version.to_string()).await?;
    }
}

async fn read(
    mut response: Response,
    newest: &mut u64,
    sender: &mpsc::UnboundedSender<Result<WatchEvent>>,
) -> Result<()> {
    let mut pending = Vec::new();
    while let Some(chunk) = response.chunk().await.context("the watch broke")? {
        let at = Instant::now();
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let mut value: Value = serde_json::from_slice(&line).context("event of a watch")?;
            let kind = value["type"].as_str().unwrap_or_default().to_owned();
            let object = value["object"].take();
            if kind == "ERROR" {
                return Err(anyhow!("the watch was ended: {object}"));
            }
            // The objects that were there first come in the order of their names.
            let version = object["metadata"]["resourceVersion"].as_str();
            let version =
                version.and_then(|version| version.parse::<u64>().ok()).unwrap_or_default();
            *newest = version.max(*newest);
            if kind != "BOOKMARK" {
                let _ = sender.send(Ok(WatchEvent { at, kind, object }));
            }
        }
    }
    Ok(())
}

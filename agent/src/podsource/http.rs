//! Reads pods from a URL every so often.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::manifest::{ManifestError, parse_document, split_list};
use super::manifests::tell;
use super::static_set::{Candidate, StaticSet};
use super::task::StaticPods;
use crate::boundary::ManifestUrl;
use crate::podworker::WallClock;

#[cfg(test)]
mod tests;

/// The loop; see [`UrlTask::run`].
pub struct UrlTask {
    url: Arc<dyn ManifestUrl>,
    set: StaticSet,
    /// `httpCheckFrequency`.
    period: Duration,
    clock: WallClock,
    pods: watch::Sender<StaticPods>,
    /// The answer taken in last.
    body: Vec<u8>,
    trouble: Option<String>,
}

impl UrlTask {
    /// The receiver shows `None` until the URL has answered once.
    pub fn new(
        url: Arc<dyn ManifestUrl>,
        node_name: &str,
        period: Duration,
        clock: WallClock,
    ) -> (Self, watch::Receiver<StaticPods>) {
        let (pods, receiver) = watch::channel(None);
        let set = StaticSet::new(node_name, Some(url.name()));
        let task = Self { url, set, period, clock, pods, body: Vec::new(), trouble: None };
        (task, receiver)
    }

    /// Polls for ever.
    pub async fn run(mut self) {
        loop {
            let trouble = self.poll().await.err();
            if trouble != self.trouble {
                match &trouble {
                    Some(problem) => {
                        tracing::warn!(problem, "staticPodURL gives no pods, will ask again");
                    }
                    None => tracing::info!("staticPodURL is read"),
                }
                self.trouble = trouble;
            }
            tokio::time::sleep(self.period).await;
        }
    }

    /// One question. An answer that makes no pods at all leaves those before it alone, but for an
    /// empty one, which ends them.
    async fn poll(&mut self) -> Result<(), String> {
        let body = self.url.fetch().await.map_err(|error| error.to_string())?;
        if body.is_empty() {
            self.body.clear();
            self.take(Vec::new());
            return Err("the answer is empty".to_owned());
        }
        // Unchanged, and no good the last time either.
        if body == self.body {
            return self.trouble.clone().map_or(Ok(()), Err);
        }
        let read = candidates(&body).map_err(|error| error.to_string());
        self.body = body;
        self.take(read?);
        Ok(())
    }

    fn take(&mut self, read: Vec<Candidate>) {
        for remark in self.set.update(read, (self.clock)()) {
            tell(&remark);
        }
        let pods: Arc<[_]> = self.set.pods().into();
        self.pods.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&pods);
            *known = Some(pods);
            changed
        });
    }
}

/// The pods of an answer as manifests of their own, told apart by namespace and name.
fn candidates(body: &[u8]) -> Result<Vec<Candidate>, ManifestError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| ManifestError::Syntax("it is not UTF-8 text".to_owned()))?;
    let (document, _) = parse_document(text)?;
    let mut keys = HashSet::new();
    let candidates = split_list(document).into_iter().enumerate().map(|(index, item)| {
        let meta = |field: &str| item["metadata"][field].as_str();
        let name = meta("name").map(|name| {
            let namespace = meta("namespace").unwrap_or("default");
            format!("{namespace}/{name}")
        });
        let key = name.filter(|key| keys.insert(key.clone()));
        let key = key.unwrap_or_else(|| format!("items[{index}]"));
        Candidate { key, content: Ok(to_text(&item)) }
    });
    Ok(candidates.collect())
}

fn to_text(item: &Value) -> Vec<u8> {
    // JSON is YAML.
    item.to_string().into_bytes()
}

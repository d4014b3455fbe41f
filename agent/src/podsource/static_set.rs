//! Pure. The static pods of one source, from one reading of it to the next.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use super::manifest::{decode_pod, parse_document};
use super::static_pod::{Origin, static_pod};
use crate::model::{Pod, PodSource};

#[cfg(test)]
mod tests;

/// One manifest as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What tells it from the others: the path of a file; for a pod of a list, its place in it.
    pub key: String,
    /// Its text, or why it could not be read.
    pub content: Result<Vec<u8>, String>,
}

/// Something to tell the user, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// The manifest makes no pod; `kept` when the pod of its last good version goes on.
    Refused { key: String, problem: String, kept: bool },
    /// It is good again after a refusal.
    Mended { key: String },
    /// It makes a pod, but not all of it counts.
    Ignored { key: String, what: String },
}

/// What a source said last.
#[derive(Clone, Debug)]
pub struct StaticSet {
    source: PodSource,
    node_name: String,
    /// For a URL, the place all its pods come from.
    url: Option<String>,
    items: BTreeMap<String, Item>,
}

#[derive(Clone, Debug, Default)]
struct Item {
    content: Vec<u8>,
    /// From the last good version.
    pod: Option<Pod>,
    problem: Option<String>,
    clash: Option<String>,
}

impl StaticSet {
    /// Nothing was read yet. `url` is given for pods from a URL.
    pub fn new(node_name: &str, url: Option<String>) -> Self {
        let source = if url.is_some() { PodSource::Http } else { PodSource::File };
        Self { source, node_name: node_name.to_owned(), url, items: BTreeMap::new() }
    }

    /// Takes one complete reading in. A manifest that is bad now keeps the pod it made before,
    /// until it is gone or good again.
    pub fn update(&mut self, read: Vec<Candidate>, now: Timestamp) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let present: HashSet<&str> = read.iter().map(|candidate| candidate.key.as_str()).collect();
        self.items.retain(|key, _| present.contains(key.as_str()));
        for candidate in read {
            self.take(candidate, now, &mut remarks);
        }
        self.find_clashes(&mut remarks);
        remarks
    }

    /// The pods to run, by key. Of two with one name or UID the first by key counts.
    pub fn pods(&self) -> Vec<Pod> {
        let items = self.items.values().filter(|item| item.clash.is_none());
        items.filter_map(|item| item.pod.clone()).collect()
    }

    fn take(&mut self, candidate: Candidate, now: Timestamp, remarks: &mut Vec<Remark>) {
        let Candidate { key, content } = candidate;
        let outcome = match content {
            Ok(content) => {
                let known = self.items.get(&key);
                if known.is_some_and(|item| item.content == content && !item.content.is_empty()) {
                    return;
                }
                let outcome = self.read_pod(&key, &content, now);
                self.items.entry(key.clone()).or_default().content = content;
                outcome
            }
            Err(problem) => {
                // So that the same text counts as news when it can be read again.
                self.items.entry(key.clone()).or_default().content.clear();
                Err(problem)
            }
        };
        let item = self.items.entry(key.clone()).or_default();
        match outcome {
            Ok((pod, ignored)) => {
                if item.problem.take().is_some() {
                    remarks.push(Remark::Mended { key: key.clone() });
                }
                remarks.extend(
                    ignored.into_iter().map(|what| Remark::Ignored { key: key.clone(), what }),
                );
                // Comments and order do not make another pod, nor another time of first sight.
                if item
                    .pod
                    .as_ref()
                    .is_none_or(|old| old.uid() != pod.uid() || is_respecified(old, &pod))
                {
                    item.pod = Some(pod);
                }
            }
            Err(problem) => {
                if item.problem.as_ref() != Some(&problem) {
                    let kept = item.pod.is_some();
                    remarks.push(Remark::Refused { key, problem: problem.clone(), kept });
                    item.problem = Some(problem);
                }
            }
        }
    }

    fn read_pod(
        &self,
        key: &str,
        content: &[u8],
        now: Timestamp,
    ) -> Result<(Pod, Vec<String>), String> {
        let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8 text".to_owned())?;
        let (document, count) = parse_document(text).map_err(|error| error.to_string())?;
        let (object, unknown) = decode_pod(document).map_err(|error| error.to_string())?;
        let place = self.url.as_deref().unwrap_or(key);
        let origin = Origin { source: self.source, place, node_name: &self.node_name, seen: now };
        let pod = static_pod(object, &origin).map_err(|error| error.to_string())?;
        let mut ignored: Vec<String> =
            unknown.into_iter().map(|field| format!("unknown field {field}")).collect();
        if count > 1 {
            ignored.push(format!("{} of its {count} documents after the first", count - 1));
        }
        Ok((pod, ignored))
    }

    /// Marks pods whose name or UID another one has already.
    fn find_clashes(&mut self, remarks: &mut Vec<Remark>) {
        let mut names = BTreeMap::new();
        let mut uids = BTreeMap::new();
        for (key, item) in &mut self.items {
            let Some(pod) = &item.pod else { continue };
            let name = pod.full_name().clone();
            let other = names.get(&name).or_else(|| uids.get(pod.uid()));
            let clash = other.map(|other| format!("pod {name} is in {other} already"));
            if clash.is_none() {
                names.insert(name, key.clone());
                uids.insert(pod.uid().clone(), key.clone());
            } else if let Some(problem) = clash.clone().filter(|_| clash != item.clash) {
                remarks.push(Remark::Refused { key: key.clone(), problem, kept: false });
            }
            item.clash = clash;
        }
    }
}

/// A manifest that names its UID itself can change and keep it.
fn is_respecified(old: &Pod, new: &Pod) -> bool {
    old.spec() != new.spec() || old.object().metadata.labels != new.object().metadata.labels
}

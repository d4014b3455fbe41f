//! Owns the records of pulls: in memory for every question, on disk for the next start.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::credentials::TrackedAuth;
use super::records::{Access, PullIntent, PulledRecord, access, file_name};
use super::reference::ImageReference;
use crate::adapters::linux::record_dir::RecordDir;
use crate::boundary::LocalImage;
use crate::config::VerificationPolicy;

#[cfg(test)]
mod tests;

/// Who may use which image. The lock covers the files too, so that they follow the memory.
pub(super) struct PullRecords {
    policy: VerificationPolicy,
    pulling: RecordDir,
    pulled: RecordDir,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By image as asked for: how many pulls of this noded's are under way.
    intents: HashMap<String, u32>,
    /// Images for which an earlier noded left an intent.
    left: Vec<String>,
    /// By the runtime's name of the content.
    pulled: HashMap<String, PulledRecord>,
}

impl PullRecords {
    /// Reads what is in `dir`. A file that cannot be read counts as absent and is logged.
    pub fn open(dir: &Path, policy: VerificationPolicy) -> Self {
        let (pulling, pulled) =
            (RecordDir::new(dir.join("pulling")), RecordDir::new(dir.join("pulled")));
        let mut state = State::default();
        for (name, bytes) in read_all(&pulling) {
            match PullIntent::parse(&bytes) {
                Some(intent) => state.left.push(intent.image),
                None => {
                    tracing::warn!(name, "record of a begun image pull is damaged; it is ignored")
                }
            }
        }
        for (name, bytes) in read_all(&pulled) {
            match PulledRecord::parse(&bytes) {
                Some(record) => {
                    state.pulled.insert(record.image_ref.clone(), record);
                }
                None => tracing::warn!(name, "record of a pulled image is damaged; it is ignored"),
            }
        }
        Self { policy, pulling, pulled, state: Mutex::new(state) }
    }

    /// Whether an earlier noded left anything that images are to be compared with.
    pub async fn is_unsettled(&self) -> bool {
        let state = self.state.lock().await;
        !state.left.is_empty() || !state.pulled.is_empty()
    }

    /// Compares the records with the images that are present: what an interrupted pull brought
    /// after all is known to be pulled, by nobody's credential; records of images that are gone go.
    pub async fn settle(&self, images: &[LocalImage], now: Timestamp) {
        let mut state = self.state.lock().await;
        for intended in std::mem::take(&mut state.left) {
            let tag = ImageReference::parse(&intended).map(|image| image.with_default_tag());
            let is_it = |image: &&LocalImage| {
                let names = image.tags.iter().chain(&image.digests);
                let known = names.filter_map(|name| ImageReference::parse(name).ok());
                let mut known = known.map(|name| name.normalized());
                tag.as_ref().is_ok_and(|tag| known.any(|name| name == tag.clone().normalized()))
            };
            if let Some(image) = images.iter().find(is_it)
                && !state.pulled.contains_key(&image.id)
            {
                let record = PulledRecord::new(&image.id, now);
                self.write_pulled(&record).await;
                state.pulled.insert(image.id.clone(), record);
            }
            self.pulling.remove(file_name(&intended)).await;
        }
        let gone: Vec<String> = state
            .pulled
            .keys()
            .filter(|known| !images.iter().any(|image| image.id == **known))
            .cloned()
            .collect();
        for image in gone {
            state.pulled.remove(&image);
            self.pulled.remove(file_name(&image)).await;
        }
    }

    /// A pull of the image begins; every begin is to be followed by [`Self::ended`].
    pub async fn begun(&self, image: &str) {
        let mut state = self.state.lock().await;
        let count = state.intents.entry(image.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            let text = serde_json::to_vec(&PullIntent::new(image)).unwrap_or_default();
            self.pulling.write(file_name(image), text).await;
        }
    }

    /// The pull has ended: with this content and by this credential, or not well.
    pub async fn ended(
        &self,
        image: &str,
        pulled: Option<(&str, Option<&TrackedAuth>)>,
        now: Timestamp,
    ) {
        // What was pulled is written before the intent goes, so that a crash in between leaves
        // both.
        if let Some((image_ref, credential)) = pulled {
            self.note(image, image_ref, credential, now).await;
        }
        let mut state = self.state.lock().await;
        let left = state.intents.get(image).map_or(0, |count| count.saturating_sub(1));
        if left > 0 {
            state.intents.insert(image.to_owned(), left);
            return;
        }
        state.intents.remove(image);
        self.pulling.remove(file_name(image)).await;
    }

    /// The credential is good for the image.
    pub async fn note(
        &self,
        image: &str,
        image_ref: &str,
        credential: Option<&TrackedAuth>,
        now: Timestamp,
    ) {
        let Ok(repository) = repository(image) else { return };
        let mut state = self.state.lock().await;
        let known = state.pulled.get(image_ref).cloned();
        let mut record = known.unwrap_or_else(|| PulledRecord::new(image_ref, now));
        if record.note(&repository, credential, now) {
            self.write_pulled(&record).await;
            state.pulled.insert(image_ref.to_owned(), record);
        }
    }

    /// Who may use the image that is present as `image_ref`.
    pub async fn access(&self, image: &str, image_ref: &str) -> Access {
        let Ok(repository) = repository(image) else { return Access::Denied };
        let state = self.state.lock().await;
        let intended =
            state.intents.contains_key(image) || state.left.iter().any(|left| left == image);
        access(&self.policy, &repository, state.pulled.get(image_ref), intended)
    }

    async fn write_pulled(&self, record: &PulledRecord) {
        let text = serde_json::to_vec(record).unwrap_or_default();
        self.pulled.write(file_name(&record.image_ref), text).await;
    }
}

/// Makes one value of the records, shared.
pub(super) fn open_records(dir: &Path, policy: VerificationPolicy) -> Arc<PullRecords> {
    Arc::new(PullRecords::open(dir, policy))
}

fn read_all(dir: &RecordDir) -> Vec<(String, Vec<u8>)> {
    dir.read_all().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the records of image pulls");
        Vec::new()
    })
}

fn repository(image: &str) -> Result<String, super::ReferenceError> {
    ImageReference::parse(image).map(|image| image.repository_name())
}

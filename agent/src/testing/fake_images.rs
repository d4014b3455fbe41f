//! The runtime's image store and content store in memory.
//!
//! State: images present, images a registry has, downloads under way. Call log: `calls()`. Queued errors:
//! `fail_next(method, error)`. Slow pulls: `hold_pulls` until `release_pulls`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::boundary::{
    ContentStore, ImageError, ImageService, Ingest, Layer, LocalImage, RegistryAuth, RuntimeError,
};

#[derive(Default)]
struct State {
    present: BTreeMap<String, LocalImage>,
    published: BTreeSet<String>,
    calls: Vec<String>,
    failures: HashMap<&'static str, VecDeque<ImageError>>,
    used_bytes: u64,
    manifests: BTreeMap<String, Vec<Layer>>,
    ingests: BTreeMap<String, Ingest>,
    blobs: BTreeSet<String>,
}

/// Clones share the state.
#[derive(Clone)]
pub struct FakeImages {
    state: Arc<Mutex<State>>,
    held: watch::Sender<bool>,
}

impl Default for FakeImages {
    fn default() -> Self {
        Self { state: Arc::default(), held: watch::Sender::new(false) }
    }
}

impl FakeImages {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this lock")
    }

    /// The runtime has the image, with an id made from its name.
    pub fn put(&self, image: &str, size_bytes: u64) {
        let local = LocalImage {
            id: format!("sha256:{image}"),
            tags: vec![image.to_owned()],
            size_bytes,
            ..LocalImage::default()
        };
        self.state().present.insert(image.to_owned(), local);
    }

    /// A registry has the image, so that a pull of it succeeds.
    pub fn publish(&self, image: &str) {
        self.state().published.insert(image.to_owned());
    }

    pub fn has(&self, image: &str) -> bool {
        self.state().present.contains_key(image)
    }

    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub fn fail_next(&self, method: &'static str, error: ImageError) {
        self.state().failures.entry(method).or_default().push_back(error);
    }

    /// Pulls answer only after `release_pulls`.
    pub fn hold_pulls(&self) {
        self.held.send_replace(true);
    }

    pub fn release_pulls(&self) {
        self.held.send_replace(false);
    }

    /// The content store has the manifest of the repository, with layers of these sizes.
    pub fn put_manifest(&self, host: &str, repository: &str, layers: &[(&str, u64)]) {
        let layer = |(digest, size_bytes): &(&str, u64)| Layer {
            digest: (*digest).to_owned(),
            size_bytes: *size_bytes,
        };
        let layers = layers.iter().map(layer).collect();
        self.state().manifests.insert(format!("{host}/{repository}"), layers);
    }

    /// A download has come so far.
    pub fn put_ingest(&self, name: &str, done_bytes: u64, total_bytes: u64) {
        let ingest = Ingest { name: name.to_owned(), done_bytes, total_bytes };
        self.state().ingests.insert(name.to_owned(), ingest);
    }

    /// A download is complete; its name is a word, a dash and the digest.
    pub fn finish_ingest(&self, name: &str) {
        let mut state = self.state();
        state.ingests.remove(name);
        let digest = name.split_once('-').map_or(name, |(_, digest)| digest);
        state.blobs.insert(digest.to_owned());
    }

    pub fn set_used_bytes(&self, bytes: u64) {
        self.state().used_bytes = bytes;
    }

    fn begin(&self, method: &'static str, about: &str) -> Result<(), ImageError> {
        let mut state = self.state();
        state.calls.push(format!("{method} {about}"));
        match state.failures.get_mut(method).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl ImageService for FakeImages {
    async fn image_status(&self, image: &str) -> Result<Option<LocalImage>, ImageError> {
        self.begin("image_status", image)?;
        Ok(self.state().present.get(image).cloned())
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<&RegistryAuth>,
    ) -> Result<String, ImageError> {
        let user = auth.map(|auth| auth.username.as_str()).unwrap_or_default();
        let outcome = self.begin("pull_image", format!("{image} {user}").trim_end());
        let mut held = self.held.subscribe();
        let _ = held.wait_for(|held| !held).await;
        outcome?;
        if !self.state().published.contains(image) {
            let message = format!("{image}: not found");
            let error = RuntimeError::Refused { code: "NotFound".to_owned(), message };
            return Err(ImageError::Runtime(error));
        }
        self.put(image, 1);
        Ok(format!("sha256:{image}"))
    }

    async fn list_images(&self) -> Result<Vec<LocalImage>, ImageError> {
        self.begin("list_images", "")?;
        Ok(self.state().present.values().cloned().collect())
    }

    async fn remove_image(&self, image: &str) -> Result<(), ImageError> {
        self.begin("remove_image", image)?;
        self.state().present.retain(|name, local| name != image && local.id != image);
        Ok(())
    }

    async fn image_fs(&self) -> Result<(u64, String), ImageError> {
        self.begin("image_fs", "")?;
        Ok((self.state().used_bytes, "/".to_owned()))
    }
}

impl FakeImages {
    /// Content calls fail with the queued errors of image calls.
    fn begin_content(&self, method: &'static str, about: &str) -> Result<(), RuntimeError> {
        self.begin(method, about).map_err(|error| match error {
            ImageError::Runtime(error) => error,
            other => RuntimeError::Unavailable(other.to_string()),
        })
    }
}

#[async_trait]
impl ContentStore for FakeImages {
    async fn ingests(&self) -> Result<Vec<Ingest>, RuntimeError> {
        self.begin_content("ingests", "")?;
        Ok(self.state().ingests.values().cloned().collect())
    }

    async fn manifests(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Vec<Vec<Layer>>, RuntimeError> {
        let name = format!("{host}/{repository}");
        self.begin_content("manifests", &name)?;
        Ok(self.state().manifests.get(&name).cloned().into_iter().collect())
    }

    async fn has(&self, digest: &str) -> Result<bool, RuntimeError> {
        self.begin_content("has", digest)?;
        Ok(self.state().blobs.contains(digest))
    }
}

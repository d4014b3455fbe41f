//! The runtime's image store in memory.
//!
//! State: images present, images a registry has. Call log: `calls()`. Queued errors:
//! `fail_next(method, error)`. Slow pulls: `hold_pulls` until `release_pulls`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::boundary::{ImageError, ImageService, LocalImage, RegistryAuth, RuntimeError};

#[derive(Default)]
struct State {
    present: BTreeMap<String, LocalImage>,
    published: BTreeSet<String>,
    calls: Vec<String>,
    failures: HashMap<&'static str, VecDeque<ImageError>>,
    used_bytes: u64,
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

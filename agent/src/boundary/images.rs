//! The runtime's image store.

use async_trait::async_trait;

use super::RuntimeError;

/// Credentials for one registry. Debug output names the registry and the user, never the secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    pub username: String,
    pub password: String,
    pub auth: String,
    pub server_address: String,
    pub identity_token: String,
    pub registry_token: String,
}

impl std::fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAuth")
            .field("server_address", &self.server_address)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Why an image call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The registry could not be reached (`RegistryUnavailable`).
    #[error("{0}")]
    RegistryUnavailable(String),
    /// The signature of the image is not accepted (`SignatureValidationFailed`).
    #[error("{0}")]
    SignatureInvalid(String),
}

/// An image the runtime has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalImage {
    pub id: String,
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    pub size_bytes: u64,
    /// User of the image's configuration: a number, or a name, or neither (root).
    pub uid: Option<i64>,
    pub username: String,
    /// Never removed by garbage collection.
    pub pinned: bool,
}

#[async_trait]
pub trait ImageService: Send + Sync {
    /// `None` when the runtime does not have it.
    async fn image_status(&self, image: &str) -> Result<Option<LocalImage>, ImageError>;
    /// Fetches the image and returns the reference that containers are to be created with.
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<&RegistryAuth>,
    ) -> Result<String, ImageError>;
    async fn list_images(&self) -> Result<Vec<LocalImage>, ImageError>;
    async fn remove_image(&self, image: &str) -> Result<(), ImageError>;
    /// Bytes used by, and mount point of, the image file system.
    async fn image_fs(&self) -> Result<(u64, String), ImageError>;
}

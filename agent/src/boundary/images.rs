//! The runtime's image store, what it is downloading, and who knows credentials for registries.

use std::path::PathBuf;

use async_trait::async_trait;

use super::RuntimeError;

/// Credentials for one registry. Debug output names the registry and the user, never the secret.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
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
    /// Never reached the runtime: more pulls than `registryPullQPS` and `registryBurst` allow.
    #[error("pull QPS exceeded")]
    QpsExceeded,
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

/// A blob that is being downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// What it is for; ends with the digest of the blob.
    pub name: String,
    pub done_bytes: u64,
    /// 0 when it is not known.
    pub total_bytes: u64,
}

/// A part of an image, as its manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub digest: String,
    pub size_bytes: u64,
}

/// Where the runtime puts what it downloads. Only containerd has it; another runtime answers
/// every call with an error.
#[async_trait]
pub trait ContentStore: Send + Sync {
    /// All downloads under way.
    async fn ingests(&self) -> Result<Vec<Ingest>, RuntimeError>;
    /// The layer lists of the repository's manifests that are here, newest first and not all of
    /// a long list. `host` is the registry as the image's name has it.
    async fn manifests(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Vec<Vec<Layer>>, RuntimeError>;
    /// Whether the blob is here as a whole.
    async fn has(&self, digest: &str) -> Result<bool, RuntimeError>;
}

/// One call of a credential provider plugin.
#[derive(Clone)]
pub struct PluginCall {
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Laid over noded's own environment.
    pub env: Vec<(String, String)>,
    pub input: Vec<u8>,
}

/// Why a plugin gave no answer. What it wrote to its standard error is part of the text.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    #[error("cannot run {program}")]
    Start { program: PathBuf, source: std::io::Error },
    #[error("{program} did not answer within {seconds} s")]
    Late { program: PathBuf, seconds: u64 },
    #[error("{program} failed ({status}): {stderr}")]
    Failed { program: PathBuf, status: String, stderr: String },
    #[error("{program} answered with more than {limit} bytes")]
    TooLong { program: PathBuf, limit: u64 },
}

/// Programs of the administrator's that know credentials.
#[async_trait]
pub trait CredentialPlugins: Send + Sync {
    /// What the plugin writes to its standard output. It gets one minute.
    async fn run(&self, call: PluginCall) -> Result<Vec<u8>, PluginError>;
}

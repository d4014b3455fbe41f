//! How an image becomes present.
//!
//! **What**: the pull policy, who may use an image that is present, credentials (pull secrets, the
//! node's docker configuration, credential provider plugins), pulls with their limits, back-off
//! and progress.
//! **Owns**: pulls under way, the back-off of each pod and image, the records of pulls below
//! `image_manager` in the root directory, answers of plugins.
//! **Reads**: the runtime's image store and content store; Secrets from the object cache and
//! ServiceAccounts through the API; docker configuration files.
//! **Writes**: pulls; records; the events Pulling, Pulled, Failed, BackOff, InspectFailed.
//! **Invariants**: a pull that began is never dropped midway; two pods that want the same image
//! with the same credentials share one pull; nobody gets an image by another's credentials; a
//! credential is never logged.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/images`, `pkg/credentialprovider`. Progress of pulls
//! is ours.
//!
//! ```text
//! ensure ─> policy ─> access (records) ─> use what is present
//!              │           │
//!              └─> back-off ─> credentials ─> pull line ─> runtime
//!                               secrets        records      │
//!                               node           limits       └ content store: progress
//!                               plugins
//! ```

mod access;
mod credentials;
mod limiter;
mod progress;
mod providers;
mod pull_policy;
mod pull_secrets;
mod puller;
mod pulls;
mod records;
mod reference;
mod texts;
mod track;

pub use pull_policy::{PullDecision, PullPolicy};
pub use puller::{
    EnsureImage, ImagePullError, ImageTarget, ImagesDeps, ImagesHandle, PresentImage, PullNews,
};
pub use reference::{ImageReference, ReferenceError};

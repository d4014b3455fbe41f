//! How an image becomes present.
//!
//! **What**: the pull policy, credentials, one pull at a time for an image, and its back-off.
//! **Owns**: pulls under way and the back-off of each pod and image.
//! **Reads**: the runtime's image store; pull secrets through the API.
//! **Writes**: pulls; the events Pulling, Pulled, Failed, BackOff, InspectFailed.
//! **Invariants**: a pull that began is never dropped midway; two pods that want the same image
//! with the same credentials share one pull; a secret is never logged.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/images`.

mod credentials;
mod pull_policy;
mod puller;
mod reference;

pub use credentials::{Keyring, KeyringError};
pub use pull_policy::{PullDecision, PullPolicy};
pub use puller::{EnsureImage, ImagePullError, ImagesHandle, PresentImage};
pub use reference::{ImageReference, ReferenceError};

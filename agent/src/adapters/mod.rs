//! The only module that may touch the operating system and the network.

#![allow(clippy::disallowed_methods, reason = "this is where the system is touched")]

pub mod cri;
mod http_manifests;
pub mod kube;
pub mod linux;
mod standalone;

pub use http_manifests::{HttpManifestUrl, UrlClientError};
pub use standalone::Standalone;

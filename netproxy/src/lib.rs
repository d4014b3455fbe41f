//! kube-proxy as a library.
#![forbid(unsafe_code)]

pub mod config;
pub mod input;
pub mod status;

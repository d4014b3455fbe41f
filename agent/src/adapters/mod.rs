//! The only module that may touch the operating system and the network.

#![allow(clippy::disallowed_methods, reason = "this is where the system is touched")]

pub mod cri;
pub mod kube;
pub mod linux;

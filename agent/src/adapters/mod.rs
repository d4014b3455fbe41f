//! The only module that may touch the operating system and the network.

pub mod cri;
pub mod kube;
pub mod linux;

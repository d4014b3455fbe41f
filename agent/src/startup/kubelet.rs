//! The kubelet part.

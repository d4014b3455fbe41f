//! What noded answers over HTTP.
//!
//! **What**: the health endpoint on loopback port 10248.
//! **Reads**: the health of the runtime watcher.
//! **Invariants**: answers nothing but health, takes no input, and serves few connections at once.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/kubelet.go` (`ListenAndServe` of healthz).

pub mod health;

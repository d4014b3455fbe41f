//! What noded answers over HTTP.
//!
//! **What**: the health endpoint on loopback port 10248; the kubelet server on port 10250 with its
//! routes, and its read-only port when there is one.
//! **Owns**: the connections, who their callers are, and what the API server said of them.
//! **Reads**: the health of the runtime watcher; what the slices publish of the node's pods; the
//! serving certificate and the authorities of clients, from channels.
//! **Writes**: TokenReviews and SubjectAccessReviews.
//! **Invariants**: the health endpoint answers nothing but health, takes no input, and serves few
//! connections at once; no route of the kubelet server is without access and limits, and none is
//! answered before its caller is known and allowed; who is not allowed anything holds nobody else.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/kubelet.go` (`ListenAndServe` of healthz),
//! `pkg/kubelet/server`, `cmd/kubelet/app/auth.go`; unlike it a path that does not exist is a 404
//! only to those who may use `nodes/proxy`.

pub mod authenticate;
pub mod authorize;
pub mod checkpoint;
pub mod configz;
pub mod debug_flags;
#[cfg(test)]
mod fixtures;
pub mod health;
pub mod logs;
pub mod metrics_pages;
pub mod node_logs;
mod node_pods;
pub mod pod_list;
pub mod profile;
mod reply;
mod review_cache;
pub mod reviews;
pub mod route;
pub mod running_pods;
pub mod serve;
pub mod stats;
pub mod streams;
pub mod tls;
pub mod zpages;

pub use node_pods::NodePods;
pub use tls::{ClientAuthorities, ServingCertificate};

//! The API server over HTTPS.
//!
//! **What**: implements `PodsApi`, `NodesApi`, `ObjectsApi`, `EventSink` and `CsrApi` for one identity,
//! and feeds Services, EndpointSlices and the Node to the proxy.
//! **Owns**: the connections (heartbeats, plain calls and watches apart) and the watch tasks it
//! starts; each of them ends when its receiver is dropped.
//! **Reads**: the kubeconfig and the files it names.
//! **Writes**: API objects the Node authorizer lets a node write.
//! **Invariants**: every call has a deadline; a heartbeat never waits for another call's stream; no
//! call is repeated by itself; certificate checks cannot be switched off; no body and no credential
//! is logged.
//! **Source**: Kubernetes v1.36, client-go's reflector and event recorder; unlike client-go there
//! is no client-side rate limit on plain calls, because the server's own fairness does that.
//!
//! ```text
//! PodsApi, ObjectsApi, EventSink,
//! CsrApi ──────────────────────────> plain ──────────┐
//! NodesApi ────────────────────────> heartbeats ─────┼──> Transport (reqwest, HTTP/2) ──> server
//! watch_*, ProxyFeed ──> watch ────> watches (80 each)┘
//! ```

mod client;
mod credential;
mod csr;
mod error;
mod events;
pub mod kubeconfig;
mod nodes;
mod objects;
mod outage;
mod pods;
mod services;
mod watch;

use std::sync::Arc;

pub use client::ConnectError;
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub use services::ProxyFeed;

use client::Connections;
use objects::ServiceStore;

/// Directive for the log filter: the client library would print whole response bodies, and so
/// Secrets, when one cannot be decoded.
pub const LOG_DIRECTIVE: &str = "kube_client::client=error";

/// The API server as the node `node_name` may use it. Cheap to clone; all clones share the
/// connections.
#[derive(Clone)]
pub struct KubeApi {
    connections: Arc<Connections>,
    node_name: Arc<str>,
    services: Arc<ServiceStore>,
}

impl KubeApi {
    /// Prepares the connections; nothing is sent yet. Must run inside a Tokio runtime. Fails when
    /// the credential does not make a usable TLS set-up.
    pub fn connect(kubeconfig: &Kubeconfig, node_name: &str) -> Result<Self, ConnectError> {
        let connections = Arc::new(Connections::new(kubeconfig)?);
        let services = Arc::new(ServiceStore::new(Arc::clone(&connections)));
        Ok(Self { connections, node_name: node_name.into(), services })
    }
}

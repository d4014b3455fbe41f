//! The API server over HTTPS.
//!
//! **What**: implements `PodsApi`, `NodesApi`, `ObjectsApi`, `EventSink`, `CsrApi` and `AuthnApi` for
//! one identity, and feeds Services, EndpointSlices and the Node to the proxy.
//! **Owns**: the connections (heartbeats, plain calls and watches apart) and the watch tasks it
//! starts; each of them ends when its receiver is dropped.
//! **Reads**: the kubeconfig and the files it names; the client certificate of the moment.
//! **Writes**: API objects the Node authorizer lets a node write.
//! **Invariants**: every call has a deadline; a heartbeat never waits for another call's stream; no
//! call is repeated by itself; when the client certificate changes, connections are replaced and
//! neither a call nor an event of a watch is lost; certificate checks cannot be switched off; no body and no credential
//! is logged.
//! **Source**: Kubernetes v1.36, client-go's reflector and event recorder; unlike client-go there
//! is no client-side rate limit on plain calls, because the server's own fairness does that.
//!
//! ```text
//! PodsApi, ObjectsApi, EventSink,
//! CsrApi, AuthnApi ────────────────> plain ──────────┐
//! NodesApi ────────────────────────> heartbeats ─────┼──> Transport (reqwest, HTTP/2) ──> server
//! watch_*, ProxyFeed ──> watch ────> watches (80 each)┘
//! ```

mod authn;
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
mod proxy_list;
mod services;
mod watch;

use std::sync::Arc;

pub use client::{ConnectError, Identity};
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub use services::{PERMISSION as PROXY_PERMISSION, ProxyFeed};

use client::Connections;
pub(super) use client::system_authorities;
use objects::ServiceStore;

use crate::metrics::ApiMetrics;
use crate::telemetry::Causes;

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
        let key = kubeconfig.certified_key().map_err(ConnectError::Tls)?;
        // The value stays readable without its sender.
        Self::connect_as(kubeconfig, node_name, tokio::sync::watch::channel(key).1, None)
    }

    /// The same, showing the certificate that `identity` holds at the time of each connection in
    /// place of the kubeconfig's. [`Self::follow_identity`] is to run beside. `metrics` counts the
    /// requests.
    pub fn connect_as(
        kubeconfig: &Kubeconfig,
        node_name: &str,
        identity: Identity,
        metrics: Option<ApiMetrics>,
    ) -> Result<Self, ConnectError> {
        let connections = Arc::new(Connections::new(kubeconfig, identity, metrics)?);
        let services = Arc::new(ServiceStore::new(Arc::clone(&connections)));
        Ok(Self { connections, node_name: node_name.into(), services })
    }

    /// Moves to new connections with each change of `identity`. No request is lost: those under
    /// way end on the old connections, watches go on from where they are. Never returns.
    pub async fn follow_identity(self, mut identity: Identity) {
        while identity.changed().await.is_ok() {
            match self.connections.renew() {
                Ok(()) => tracing::debug!("connections with the new client certificate"),
                Err(error) => tracing::error!(
                    error = %Causes(&error),
                    "cannot renew the connections to the API server"
                ),
            }
        }
        std::future::pending().await
    }
}

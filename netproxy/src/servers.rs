//! Keeps the health and the metrics port of the proxy open.
//!
//! **What.** Opens a port and tries again while it cannot be had, or gives up at once when the
//! configuration says so (`bindAddressHardFail`).
//! **Writes.** Listening sockets; one event when a port cannot be had.
//! **Source.** kube-proxy v1.36.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::BindFailures;
use crate::events::{ProxyEvent, ProxyEvents};
use crate::http::{Ports, RouteTable, Wildcard};

/// Time between two tries (kube-proxy, v1.36).
const RETRY: Duration = Duration::from_secs(5);

/// Which of the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// `healthzBindAddress`.
    Health,
    /// `metricsBindAddress`.
    Metrics,
}

impl ServerKind {
    fn failed(self, address: SocketAddr, cause: String) -> ProxyEvent {
        match self {
            Self::Health => ProxyEvent::HealthServerFailed { address, cause },
            Self::Metrics => ProxyEvent::MetricsServerFailed { address, cause },
        }
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Health => "health",
            Self::Metrics => "metrics",
        })
    }
}

/// A port cannot be had and the configuration asks not to go on without it.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve {kind} on {address}, and bindAddressHardFail is set")]
pub struct BindError {
    /// Which port.
    pub kind: ServerKind,
    /// Where.
    pub address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Keeps the port open until dropped; returns only when it may not try again.
pub async fn keep_open(
    kind: ServerKind,
    (address, table): (SocketAddr, RouteTable),
    ports: &dyn Ports,
    events: &dyn ProxyEvents,
    failures: BindFailures,
) -> BindError {
    let mut told = false;
    loop {
        match ports.open(address, Wildcard::BothFamilies, table.clone()) {
            Ok(port) => {
                if told {
                    info!(%kind, %address, "port is open now");
                }
                // Open for as long as somebody waits here.
                std::future::pending::<()>().await;
                drop(port);
            }
            Err(source) => {
                if !std::mem::replace(&mut told, true) {
                    warn!(%kind, %address, error = %source, "cannot open the port");
                    events.publish(kind.failed(address, source.to_string()));
                }
                if failures == BindFailures::Fatal {
                    return BindError { kind, address, source };
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests;

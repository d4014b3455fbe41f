//! Pure. Names of the chains; the same as kube-proxy's, v1.36.

use std::sync::Arc;

use data_encoding::BASE32;
use sha2::{Digest, Sha256};

use super::ruleset::{ChainKey, ChainName, Table};
use crate::model::service_port::ServicePortName;

/// Dispatch by service address (nat), and services without endpoints (filter).
pub const SERVICES: &str = "KUBE-SERVICES";
/// Dispatch by node port (nat), and open health check ports (filter).
pub const NODE_PORTS: &str = "KUBE-NODEPORTS";
/// Masquerading of marked packets.
pub const POSTROUTING: &str = "KUBE-POSTROUTING";
/// Marks a packet for masquerading.
pub const MARK_MASQ: &str = "KUBE-MARK-MASQ";
/// Ways in from outside without usable endpoints.
pub const EXTERNAL_SERVICES: &str = "KUBE-EXTERNAL-SERVICES";
/// Forwarded traffic of services.
pub const FORWARD: &str = "KUBE-FORWARD";
/// Traffic that the source ranges of load balancers did not let through.
pub const PROXY_FIREWALL: &str = "KUBE-PROXY-FIREWALL";
/// Protection of loopback addresses; shared with the kubelet.
pub const FIREWALL: &str = "KUBE-FIREWALL";
/// Empty; gone when somebody else flushed the table.
pub const CANARY: &str = "KUBE-PROXY-CANARY";

/// Prefixes of the chains of single service ports and endpoints, all in nat.
const SERVICE_PREFIXES: [&str; 5] =
    ["KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"];

/// The chain names of one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceChains {
    /// All endpoints.
    pub cluster: ChainName,
    /// Endpoints of this node.
    pub local: ChainName,
    /// Traffic from outside.
    pub external: ChainName,
    /// Source ranges.
    pub firewall: ChainName,
}

impl ServiceChains {
    /// The names for a service port: a prefix and 16 characters of the base32 SHA-256 of
    /// `namespace/name[:port]` followed by the protocol.
    pub fn of(port: &ServicePortName) -> Self {
        let hash = hash(&[&port.to_string(), port.protocol.name()]);
        let chain = |prefix: &str| ChainName::from(format!("{prefix}{hash}"));
        Self {
            cluster: chain("KUBE-SVC-"),
            local: chain("KUBE-SVL-"),
            external: chain("KUBE-EXT-"),
            firewall: chain("KUBE-FW-"),
        }
    }
}

/// The chain of one endpoint of a service port; `endpoint` is its `ip:port` or `[ip]:port`.
pub fn endpoint_chain(port: &ServicePortName, endpoint: &str) -> ChainName {
    let hash = hash(&[&port.to_string(), port.protocol.name(), endpoint]);
    Arc::from(format!("KUBE-SEP-{hash}"))
}

/// Whether the chain is one that only this proxy fills and may delete.
pub fn is_owned(key: &ChainKey) -> bool {
    let name = &*key.name;
    match key.table {
        Table::Mangle => name == CANARY,
        Table::Filter => [SERVICES, EXTERNAL_SERVICES, FORWARD, NODE_PORTS, PROXY_FIREWALL, CANARY]
            .contains(&name),
        Table::Nat => {
            [SERVICES, NODE_PORTS, POSTROUTING, MARK_MASQ, CANARY].contains(&name)
                || is_of_service(key.table, name)
        }
    }
}

/// Whether the chain is one of a single service port or endpoint.
pub fn is_of_service(table: Table, name: &str) -> bool {
    table == Table::Nat && SERVICE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
    }
    let mut text = BASE32.encode(&digest.finalize());
    text.truncate(16);
    text
}

#[cfg(test)]
mod tests;

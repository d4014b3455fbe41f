//! Pure. The health of the proxy as it is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use crate::input::NodeEligibility;
use crate::status::{FamilyStatus, ProxyStatus};

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthReport {
    /// When the rules were last known to be right; now while the proxy is healthy.
    pub last_updated: Timestamp,
    /// Now.
    pub current_time: Timestamp,
    /// Whether load balancers should use the node; only told where it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_eligible: Option<bool>,
    /// Whether every family is well.
    pub healthy: bool,
    /// Each family, by name.
    pub status: BTreeMap<&'static str, FamilyReport>,
}

/// One family.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyReport {
    /// When the rules were last known to be right; now while the family is healthy.
    pub last_updated: Timestamp,
    /// Whether nothing waits for too long.
    pub healthy: bool,
    /// Services whose rules the kernel refuses; told only when there are some (kube-proxy has no
    /// such field). The node stays healthy: all other services work here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_services: Vec<String>,
}

impl HealthReport {
    /// 200, or 503 when the proxy is not well or the node not to be used.
    pub fn code(&self) -> StatusCode {
        if self.healthy && self.node_eligible != Some(false) {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }

    /// The report together with whether load balancers should use the node.
    #[must_use]
    pub fn with_node(mut self, eligibility: NodeEligibility) -> Self {
        self.node_eligible = Some(eligibility == NodeEligibility::Eligible);
        self
    }
}

/// The health told by `status` at one moment, which both clocks name. Changes may wait for
/// `timeout` before a family counts as ill.
pub fn report(
    status: &ProxyStatus,
    (now, wall): (Instant, Timestamp),
    timeout: Duration,
) -> HealthReport {
    let family = |family: &FamilyStatus| {
        let healthy = family.healthy(now, timeout);
        let last = family.last_success.filter(|_| !healthy);
        let ago = last.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let last_updated = match (healthy, last) {
            // Never synced, and too late.
            (false, None) => Timestamp::UNIX_EPOCH,
            _ => wall.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH),
        };
        let refused_services = family.refused().map(ToString::to_string).collect();
        FamilyReport { last_updated, healthy, refused_services }
    };
    let families: BTreeMap<_, _> =
        status.families.iter().map(|(name, entry)| (name.name(), family(entry))).collect();
    HealthReport {
        last_updated: families.values().map(|family| family.last_updated).max().unwrap_or(wall),
        current_time: wall,
        node_eligible: None,
        healthy: families.values().all(|family| family.healthy),
        status: families,
    }
}

#[cfg(test)]
mod tests;

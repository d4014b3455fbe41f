//! The health check node ports of services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::service_plan::{HealthPort, plan};
use crate::config::IpFamily;
use crate::events::{ProxyEvent, ProxyEvents, ServiceRef};
use crate::http::{Access, OpenPort, Ports, Reply, RouteTable, Wildcard};
use crate::input::ObjectKey;
use crate::rules::context::NodePortDestinations;
use crate::status::ProxyStatus;

/// A socket of a service.
type Socket = (ObjectKey, SocketAddr);

/// Keeps the ports of both families equal to what services want.
pub struct ServiceHealth {
    ports: Arc<dyn Ports>,
    events: Arc<dyn ProxyEvents>,
    proxy: ProxyHealth,
    families: BTreeMap<IpFamily, FamilyPorts>,
}

/// Whether the proxy itself is well.
#[derive(Clone)]
struct ProxyHealth {
    status: watch::Receiver<ProxyStatus>,
    timeout: Duration,
}

impl ProxyHealth {
    fn is_healthy(&self) -> bool {
        self.status.borrow().healthy(Instant::now(), self.timeout)
    }
}

#[derive(Default)]
struct FamilyPorts {
    open: BTreeMap<Socket, OpenPort>,
    /// Local endpoints of each service, which its answers share.
    counts: BTreeMap<ObjectKey, Arc<AtomicUsize>>,
    /// Sockets that could not be opened, and that was told.
    failing: BTreeSet<Socket>,
}

impl ServiceHealth {
    /// Nothing is open yet. `status` is what the loop publishes, `timeout` how long changes may
    /// wait before the proxy counts as ill.
    pub fn new(
        ports: Arc<dyn Ports>,
        events: Arc<dyn ProxyEvents>,
        status: watch::Receiver<ProxyStatus>,
        timeout: Duration,
    ) -> Self {
        let proxy = ProxyHealth { status, timeout };
        Self { ports, events, proxy, families: BTreeMap::new() }
    }

    /// Opens, closes and updates ports of one family; after a sync of its rules. What could not
    /// be opened is tried again the next time.
    pub fn apply(
        &mut self,
        family: IpFamily,
        addresses: &NodePortDestinations,
        wanted: &BTreeMap<ObjectKey, HealthPort>,
    ) {
        let state = self.families.entry(family).or_default();
        state.counts.retain(|service, _| wanted.contains_key(service));
        for (service, entry) in wanted {
            let count = state.counts.entry(service.clone()).or_default();
            count.store(entry.local_endpoints, Ordering::Relaxed);
        }
        let plan = plan(&state.open.keys().cloned().collect(), wanted, family, addresses);
        for socket in &plan.close {
            state.open.remove(socket);
        }
        let mut failing = BTreeSet::new();
        for socket in plan.open {
            let (service, address) = &socket;
            let (Some(count), Some(entry)) = (state.counts.get(service), wanted.get(service))
            else {
                continue;
            };
            let table = table(service, Arc::clone(count), self.proxy.clone());
            match self.ports.open(*address, Wildcard::OneFamily, table) {
                Ok(port) => {
                    debug!(%service, %address, "health check node port is open");
                    state.open.insert(socket, port);
                }
                Err(error) => {
                    if !state.failing.contains(&socket) {
                        warn!(%service, %address, %error, "cannot open the health check node port");
                        self.events.publish(ProxyEvent::ServiceHealthServerFailed {
                            service: ServiceRef { key: service.clone(), uid: entry.uid.clone() },
                            address: *address,
                            cause: error.to_string(),
                        });
                    }
                    failing.insert(socket);
                }
            }
        }
        state.failing = failing;
    }
}

/// Every path is answered; the askers are load balancers, which have no credential.
fn table(service: &ObjectKey, count: Arc<AtomicUsize>, proxy: ProxyHealth) -> RouteTable {
    let service = service.clone();
    RouteTable::new().with("", Access::Open, move || {
        reply(&service, count.load(Ordering::Relaxed), proxy.is_healthy())
    })
}

fn reply(service: &ObjectKey, local_endpoints: usize, proxy_healthy: bool) -> Reply {
    let status = if local_endpoints > 0 && proxy_healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "service": {"namespace": &*service.namespace, "name": &*service.name},
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": proxy_healthy,
    });
    let weight = ("x-load-balancing-endpoint-weight", local_endpoints.to_string());
    Reply { headers: vec![weight], ..Reply::json(status, body.to_string()) }
}

#[cfg(test)]
mod tests;

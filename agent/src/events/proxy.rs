//! Events of the proxy part.

use jiff::Timestamp;
use netproxy::events::{ProxyEvent, ProxyEvents, ServiceRef};
use netproxy::metrics::WallClock;

use super::{EventsHandle, node_reference, service_reference};
use crate::boundary::ApiEvent;
use crate::reason::proxy_event as reason;

/// Publishes what the proxy tells as Events on the Node and on Services.
pub struct ProxyEventRecorder {
    events: EventsHandle,
    node_name: String,
    clock: WallClock,
}

impl ProxyEventRecorder {
    pub fn new(events: EventsHandle, node_name: &str, clock: WallClock) -> Self {
        Self { events, node_name: node_name.to_owned(), clock }
    }
}

impl ProxyEvents for ProxyEventRecorder {
    fn publish(&self, event: ProxyEvent) {
        self.events.publish(api_event(event, &self.node_name, (self.clock)()));
    }
}

fn api_event(event: ProxyEvent, node_name: &str, at: Timestamp) -> ApiEvent {
    let node = || node_reference(node_name);
    let service = |service: &ServiceRef| {
        service_reference(&service.key.namespace, &service.key.name, &service.uid)
    };
    let (object, warning, reason, message) = match event {
        ProxyEvent::Starting => (node(), false, reason::STARTING, String::new()),
        ProxyEvent::HealthServerFailed { address, cause } => {
            let message = format!("cannot serve the health of the proxy on {address}: {cause}");
            (node(), true, reason::FAILED_TO_START_PROXIER_HEALTHCHECK, message)
        }
        ProxyEvent::MetricsServerFailed { address, cause } => {
            let message = format!("cannot serve the metrics of the proxy on {address}: {cause}");
            (node(), true, reason::FAILED_TO_START_METRIC_SERVER, message)
        }
        ProxyEvent::ServiceHealthServerFailed { service: about, address, cause } => {
            let message = format!(
                "node {node_name} cannot serve the health check of {} on {address}: {cause}",
                about.key
            );
            (service(&about), true, reason::FAILED_TO_START_SERVICE_HEALTHCHECK, message)
        }
        ProxyEvent::ServiceRefused { service: about, message } => {
            let message = format!("node {node_name}: {message}");
            (service(&about), true, reason::SERVICE_RULES_REFUSED, message)
        }
        ProxyEvent::ServiceOverlap { service: about, message } => {
            (service(&about), true, reason::SERVICE_PORT_CONFLICT, message)
        }
        ProxyEvent::OtherFlavour { message } => {
            (node(), true, reason::OTHER_IPTABLES_IN_USE, message)
        }
    };
    ApiEvent { object, warning, reason, message, at }
}

#[cfg(test)]
mod tests;

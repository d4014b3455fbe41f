//! Pure. EndpointSlices of a service merged to endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::endpoint::{Endpoint, EndpointState};
use super::service_port::ServicePortName;
use crate::config::IpFamily;
use crate::input::{AddressType, EndpointSlice, Hint, ObjectKey, Parsed, SliceEndpoint};

/// Label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of the slices of a service without a cluster address. On a service it means nothing.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The service a slice belongs to; nothing when it is not to be proxied.
pub fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = &slice.metadata.labels;
    if labels.contains_key(HEADLESS) || slice.address_type == AddressType::Other {
        return None;
    }
    let name = labels.get(SERVICE_NAME).filter(|name| !name.is_empty())?;
    Some(ObjectKey { namespace: slice.metadata.namespace.clone(), name: name.clone() })
}

/// The endpoints of a service port in one family, from all slices of its service, sorted by
/// their text, without duplicates.
///
/// Where two slices name the same address and port the local one is taken, then the one in the
/// better state; so the order of the slices does not matter.
pub fn endpoints<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    port: &ServicePortName,
    family: IpFamily,
    node_name: &str,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<String, Endpoint> = BTreeMap::new();
    for slice in slices {
        if address_type(family) != slice.address_type {
            continue;
        }
        let numbers = slice.ports.iter().filter(|candidate| {
            candidate.name.as_ref() == Some(&port.port)
                && candidate.protocol.valid() == Some(&port.protocol)
                && candidate.port != 0
        });
        for number in numbers.map(|port| port.port) {
            for (address, endpoint) in readable(slice, family) {
                let candidate = build(address, number, endpoint, node_name);
                let text = SocketAddr::new(address, number).to_string();
                match found.get_mut(&text) {
                    Some(known) if preference(known) <= preference(&candidate) => {}
                    Some(known) => *known = candidate,
                    None => {
                        found.insert(text, candidate);
                    }
                }
            }
        }
    }
    found.into_values().collect()
}

/// Whether an address may be that of an endpoint: not one that means this machine, this link or
/// nobody, since those would lead clients to what listens on the node itself (the API server's
/// validation of endpoints, v1.36).
fn is_usable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local() || is_mapped(address),
    };
    !link_local && !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

/// Whether it is an IPv4 address in the clothes of IPv6.
fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// Texts in the slice that should be addresses of endpoints of its kind and are not.
pub fn unreadable(slice: &EndpointSlice) -> Vec<Arc<str>> {
    let family = match slice.address_type {
        AddressType::Ipv4 => IpFamily::V4,
        AddressType::Ipv6 => IpFamily::V6,
        AddressType::Other => return Vec::new(),
    };
    let addresses = slice.endpoints.iter().filter_map(|endpoint| endpoint.address.as_ref());
    addresses
        .filter_map(|address| match address {
            Parsed::Invalid(text) => Some(text.clone()),
            Parsed::Valid(address) => {
                let good = family.has(*address) && is_usable(*address);
                (!good).then(|| Arc::from(address.to_string()))
            }
        })
        .collect()
}

const fn address_type(family: IpFamily) -> AddressType {
    match family {
        IpFamily::V4 => AddressType::Ipv4,
        IpFamily::V6 => AddressType::Ipv6,
    }
}

fn readable(
    slice: &EndpointSlice,
    family: IpFamily,
) -> impl Iterator<Item = (IpAddr, &SliceEndpoint)> {
    slice.endpoints.iter().filter_map(move |endpoint| {
        let address = *endpoint.address.as_ref()?.valid()?;
        (family.has(address) && is_usable(address)).then_some((address, endpoint))
    })
}

fn build(address: IpAddr, port: u16, endpoint: &SliceEndpoint, node_name: &str) -> Endpoint {
    let names = |hints: &[Hint]| hints.iter().map(|hint| hint.name.clone()).collect();
    Endpoint {
        address,
        port,
        is_local: endpoint.node_name.as_deref() == Some(node_name),
        state: EndpointState::of(endpoint.conditions),
        zone_hints: names(&endpoint.hints.for_zones),
        node_hints: names(&endpoint.hints.for_nodes),
    }
}

/// Less is better. The hints only break ties, so that the choice is a function of the set.
fn preference(endpoint: &Endpoint) -> (bool, EndpointState, &[Arc<str>], &[Arc<str>]) {
    (!endpoint.is_local, endpoint.state, &endpoint.zone_hints, &endpoint.node_hints)
}

#[cfg(test)]
mod tests;

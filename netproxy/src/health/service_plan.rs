//! Pure. Which health check node ports there have to be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::config::IpFamily;
use crate::input::ObjectKey;
use crate::rules::context::NodePortDestinations;

/// The health check of one service on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPort {
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// Identity of the Service object; empty when not known.
    pub uid: Arc<str>,
    /// How many addresses of this node take new connections for the service.
    pub local_endpoints: usize,
}

/// The services that want a port, from what is planned for the ports of each: the service, its
/// health check node port if it has one, and the local addresses that take new connections. An
/// address that several ports of a service share counts once.
pub fn wanted_ports<'a>(
    ports: impl IntoIterator<Item = (&'a ObjectKey, Option<u16>, &'a BTreeSet<IpAddr>)>,
    uid: impl Fn(&ObjectKey) -> Arc<str>,
) -> BTreeMap<ObjectKey, HealthPort> {
    let mut found: BTreeMap<&ObjectKey, (u16, BTreeSet<IpAddr>)> = BTreeMap::new();
    for (service, port, local) in ports {
        let Some(port) = port else { continue };
        let (_, addresses) = found.entry(service).or_insert_with(|| (port, BTreeSet::new()));
        addresses.extend(local);
    }
    let entries = found.into_iter().map(|(service, (port, addresses))| {
        let local_endpoints = addresses.len();
        (service.clone(), HealthPort { port, uid: uid(service), local_endpoints })
    });
    entries.collect()
}

/// What has to be opened and closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePortsPlan {
    /// Sockets that nobody wants any more.
    pub close: Vec<(ObjectKey, SocketAddr)>,
    /// Sockets that are missing.
    pub open: Vec<(ObjectKey, SocketAddr)>,
}

/// From the sockets that are open to those that `wanted` asks for, on the addresses where node
/// ports of the family answer. Closing comes first: a service may take the port of another.
pub fn plan(
    open: &BTreeSet<(ObjectKey, SocketAddr)>,
    wanted: &BTreeMap<ObjectKey, HealthPort>,
    family: IpFamily,
    addresses: &NodePortDestinations,
) -> ServicePortsPlan {
    let wildcard: IpAddr = match family {
        IpFamily::V4 => Ipv4Addr::UNSPECIFIED.into(),
        IpFamily::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let addresses = match addresses {
        NodePortDestinations::All => std::slice::from_ref(&wildcard),
        NodePortDestinations::Only(listed) => listed,
    };
    let wanted: BTreeSet<(ObjectKey, SocketAddr)> = wanted
        .iter()
        .flat_map(|(service, entry)| {
            let socket = |address: &IpAddr| SocketAddr::new(*address, entry.port);
            addresses.iter().map(move |address| (service.clone(), socket(address)))
        })
        .collect();
    ServicePortsPlan {
        close: open.difference(&wanted).cloned().collect(),
        open: wanted.difference(open).cloned().collect(),
    }
}

#[cfg(test)]
mod tests;

//! Interface addresses through rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::packet_route::route::{RouteAttribute, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

/// What the kernel told of the interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Interfaces {
    /// Indexes of the interfaces that are up.
    up: Vec<u32>,
    /// Interface index and address, in the kernel's order.
    addresses: Vec<(u32, IpAddr)>,
    /// Interface indexes of the default routes with their metric.
    default_routes: Vec<(u32, u32)>,
}

/// Addresses that can be a node's own, see `Machine::addresses`.
pub(super) async fn host_addresses() -> io::Result<Vec<IpAddr>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::select! {
        found = gather(&handle) => Ok(usable_addresses(&found.map_err(io::Error::other)?)),
        // The connection only ends when its socket fails; it is driven here so that it ends with
        // the question.
        () = connection => Err(io::Error::other("netlink connection ended")),
    }
}

async fn gather(handle: &Handle) -> Result<Interfaces, rtnetlink::Error> {
    let mut found = Interfaces::default();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        if link.header.flags.contains(LinkFlags::Up) {
            found.up.push(link.header.index);
        }
    }
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        // On a point-to-point link `Address` is the peer's and `Local` is ours.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let other = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        if let Some(address) = local.or(other) {
            found.addresses.push((message.header.index, address));
        }
    }
    for question in [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ] {
        let mut routes = handle.route().get(question).execute();
        while let Some(route) = routes.try_next().await? {
            if route.header.destination_prefix_length != 0
                || route.header.kind != RouteType::Unicast
            {
                continue;
            }
            let mut metric = 0;
            let mut interface = None;
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Oif(index) => interface = Some(*index),
                    RouteAttribute::Priority(priority) => metric = *priority,
                    _ => {}
                }
            }
            found.default_routes.extend(interface.map(|index| (index, metric)));
        }
    }
    Ok(found)
}

/// Addresses of interfaces that are up, without those no other machine can reach; the interface of
/// the cheapest default route first, and IPv4 before IPv6 on each.
fn usable_addresses(interfaces: &Interfaces) -> Vec<IpAddr> {
    let metric_of = |index: u32| {
        let metrics = interfaces.default_routes.iter().filter(|(of, _)| *of == index);
        metrics.map(|(_, metric)| u64::from(*metric)).min().unwrap_or(u64::MAX)
    };
    let mut usable: Vec<(u32, IpAddr)> = interfaces
        .addresses
        .iter()
        .filter(|(index, address)| interfaces.up.contains(index) && is_reachable(*address))
        .copied()
        .collect();
    usable.sort_by_key(|(index, address)| (metric_of(*index), *index, address.is_ipv6()));
    usable.into_iter().map(|(_, address)| address).collect()
}

fn is_reachable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_multicast() || address.is_unspecified() || link_local)
}

#[cfg(test)]
mod tests;

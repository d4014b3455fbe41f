//! Pure. Which of the machine's addresses are the node's.
//!
//! Source: kubelet v1.36 `pkg/kubelet/nodestatus/setters.go` (`NodeAddress`) and
//! `pkg/kubelet/kubelet_node_status.go` (`validateNodeIP`).

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;

/// What there is to choose from.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Also the host name, by which the node is known.
    pub node_name: &'a str,
    /// `--node-ip`: none, one, a dual-stack pair, or an unspecified address that only asks for its
    /// family.
    pub configured: &'a [IpAddr],
    /// Addresses of the interfaces, best first, see `Machine::addresses`.
    pub host: &'a [IpAddr],
    /// What the resolver says of the node name.
    pub resolved: &'a [IpAddr],
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("node IP {0} is not on any interface of this machine that is up")]
    NotOnHost(IpAddr),
    #[error("node IP {0} is a loopback, link-local, multicast or unspecified address")]
    Unusable(IpAddr),
    #[error("no interface of this machine has an address others can reach")]
    NoneFound,
}

/// The node's IPs, the primary one first: the configured ones; else the node name if it is an
/// address; else what its name resolves to; else the address of the interface with the default
/// route. IPv4 is preferred unless `::` was configured.
pub fn choose_ips(candidates: &Candidates<'_>) -> Result<Vec<IpAddr>, AddressError> {
    let specified: Vec<IpAddr> =
        candidates.configured.iter().copied().filter(|ip| !ip.is_unspecified()).collect();
    if !specified.is_empty() {
        for ip in &specified {
            check(*ip, candidates.host)?;
        }
        return Ok(specified);
    }
    if let Ok(ip) = candidates.node_name.parse::<IpAddr>() {
        check(ip, candidates.host)?;
        return Ok(vec![ip]);
    }
    let wants_ipv6 = candidates.configured.first().is_some_and(IpAddr::is_ipv6);
    let resolved = candidates.resolved.iter().copied();
    let usable = resolved.filter(|ip| check(*ip, candidates.host).is_ok()).collect::<Vec<_>>();
    let found = preferred(&usable, wants_ipv6).or_else(|| preferred(candidates.host, wants_ipv6));
    found.map(|ip| vec![ip]).ok_or(AddressError::NoneFound)
}

/// `status.addresses`: the IPs in their order, then the host name.
pub fn node_addresses(ips: &[IpAddr], node_name: &str) -> Vec<api::NodeAddress> {
    let address =
        |type_: &str, address: String| api::NodeAddress { address, type_: type_.to_owned() };
    let internal = ips.iter().map(|ip| address("InternalIP", ip.to_string()));
    internal.chain([address("Hostname", node_name.to_owned())]).collect()
}

/// The `InternalIP`s of a node that somebody else gave its addresses.
pub fn published_ips(addresses: &[api::NodeAddress]) -> Vec<IpAddr> {
    let internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    internal.filter_map(|address| address.address.parse().ok()).collect()
}

/// The first of the wanted family, else the first.
fn preferred(ips: &[IpAddr], wants_ipv6: bool) -> Option<IpAddr> {
    ips.iter().find(|ip| ip.is_ipv6() == wants_ipv6).or(ips.first()).copied()
}

fn check(ip: IpAddr, host: &[IpAddr]) -> Result<(), AddressError> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || link_local {
        return Err(AddressError::Unusable(ip));
    }
    if host.contains(&ip) { Ok(()) } else { Err(AddressError::NotOnHost(ip)) }
}

#[cfg(test)]
mod tests;

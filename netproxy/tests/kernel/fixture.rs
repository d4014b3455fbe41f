//! Services under every kind of address, and pods behind them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netproxy::ServiceChange;
use netproxy::config::IpFamily;
use netproxy::input::{AddressType, Protocol};
use netproxy::testing::{ServiceBuilder, SliceBuilder, service, slice};

use super::topology::{FAMILIES, NODE, POD_PORT, Place};

/// The port of every service.
pub const SERVICE_PORT: u16 = 80;

/// A way into a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ClusterIp,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

/// All ways but the cluster address.
pub const FROM_OUTSIDE: [Way; 3] = [Way::NodePort, Way::ExternalIp, Way::LoadBalancer];

impl Way {
    /// Where service `number` is reached this way.
    pub fn to(self, family: IpFamily, number: u8) -> SocketAddr {
        match self {
            Self::NodePort => SocketAddr::new(NODE.gateway(family), node_port(number)),
            _ => SocketAddr::new(self.ip(family, number), SERVICE_PORT),
        }
    }

    /// The address of service `number` for all ways but the node port.
    pub fn ip(self, family: IpFamily, number: u8) -> IpAddr {
        let (v4, v6) = match self {
            Self::ClusterIp => ([10, 96, 0], 0x96),
            Self::NodePort => panic!("a node port has no address of its own"),
            Self::ExternalIp => ([198, 51, 100], 0x198),
            Self::LoadBalancer => ([203, 0, 113], 0x203),
        };
        match family {
            IpFamily::V4 => Ipv4Addr::new(v4[0], v4[1], v4[2], number).into(),
            IpFamily::V6 => Ipv6Addr::new(0xfd00, v6, 0, 0, 0, 0, 0, number.into()).into(),
        }
    }
}

/// The node port of service `number`.
pub const fn node_port(number: u8) -> u16 {
    30_000 + number as u16
}

/// The name of service `number`.
pub fn name(number: u8) -> String {
    format!("shop/number-{number}")
}

/// Service `number` with a cluster address of each family, and a TCP port.
pub fn internal(number: u8) -> ServiceBuilder {
    let with_addresses = FAMILIES.iter().fold(service(&name(number)), |service, family| {
        service.cluster_ip(&Way::ClusterIp.ip(*family, number).to_string())
    });
    with_addresses.port("", Protocol::Tcp, SERVICE_PORT)
}

/// Service `number`, reachable in every way.
pub fn external(number: u8) -> ServiceBuilder {
    let service = internal(number).node_port(node_port(number));
    FAMILIES.iter().fold(service, |service, family| {
        service
            .external_ip(&Way::ExternalIp.ip(*family, number).to_string())
            .load_balancer_ip(&Way::LoadBalancer.ip(*family, number).to_string())
    })
}

/// An empty slice of service `number` for its TCP port.
pub fn slice_of(family: IpFamily, number: u8) -> SliceBuilder {
    slice_for(family, number, Protocol::Tcp)
}

/// An empty slice of service `number` for a port without a name.
pub fn slice_for(family: IpFamily, number: u8, protocol: Protocol) -> SliceBuilder {
    let (suffix, kind) = match family {
        IpFamily::V4 => ("v4", AddressType::Ipv4),
        IpFamily::V6 => ("v6", AddressType::Ipv6),
    };
    slice(&name(number))
        .named(&format!("number-{number}-{suffix}"))
        .port("", protocol, POD_PORT)
        .with(|slice| slice.address_type = kind)
}

/// Puts pods into slices.
pub trait WithPods {
    /// Adds a ready one.
    fn pod(self, family: IpFamily, pod: Place) -> Self;
    /// Adds one that terminates and still serves.
    fn draining(self, family: IpFamily, pod: Place) -> Self;
}

impl WithPods for SliceBuilder {
    fn pod(self, family: IpFamily, pod: Place) -> Self {
        let ip = pod.ip(family).to_string();
        if pod.is_near() { self.local(&ip) } else { self.endpoint(&ip) }
    }

    fn draining(self, family: IpFamily, pod: Place) -> Self {
        self.pod(family, pod).conditions(false, true, true)
    }
}

/// The slices of service `number` with these ready pods.
pub fn backed(number: u8, pods: &[Place]) -> [ServiceChange; 2] {
    FAMILIES.map(|family| {
        let fill = |slice: SliceBuilder, pod: &Place| slice.pod(family, *pod);
        pods.iter().fold(slice_of(family, number), fill).applied()
    })
}

/// A service and its slices.
pub fn running(service: ServiceBuilder, number: u8, pods: &[Place]) -> Vec<ServiceChange> {
    let mut changes = vec![service.applied()];
    changes.extend(backed(number, pods));
    changes
}

/// Services of these numbers, each with the same pod; so many that they need several writes.
pub fn many(numbers: std::ops::Range<u8>, pod: Place) -> Vec<ServiceChange> {
    numbers.flat_map(|number| running(internal(number), number, &[pod])).collect()
}

//! UDP clients that keep their port while endpoints change.

use std::net::SocketAddr;
use std::time::Duration;

use netproxy::ServiceChange;
use netproxy::config::IpFamily;
use netproxy::input::Protocol;

use crate::ask::{Failure, LOST, ask_pinned, ask_udp};
use crate::fixture::{Way, WithPods, internal, name, node_port, slice_for};
use crate::mode::{Mode, in_every_mode};
use crate::proxy::{RunningProxy, eventually};
use crate::topology::{CLIENT, FAMILIES, FAR_A, FAR_B, NEAR_B, NODE, Network, POD_PORT, Place};

/// Longest time until clients of a gone endpoint are moved.
const MOVED: Duration = Duration::from_secs(2);
const DNS: u16 = 53;
const OTHER: u16 = 54;

/// Service `number` with two UDP ports, the first one also as a node port.
fn service(number: u8) -> ServiceChange {
    internal(number)
        .with(|service| service.spec.ports.clear())
        .port("dns", Protocol::Udp, DNS)
        .node_port(node_port(number))
        .port("other", Protocol::Udp, OTHER)
        .applied()
}

/// Its slices, a pod for each port.
fn pods(number: u8, dns: Option<Place>, other: Option<Place>) -> Vec<ServiceChange> {
    let slice = |family, port: &str, pod: Option<Place>| {
        let slice = slice_for(family, number, Protocol::Udp)
            .named(&format!("{}-{port}-{family}", name(number)))
            .with(|slice| slice.ports[0].name = Some(port.into()));
        pod.into_iter().fold(slice, |slice, pod| slice.pod(family, pod)).applied()
    };
    let both = |family| [slice(family, "dns", dns), slice(family, "other", other)];
    FAMILIES.into_iter().flat_map(both).collect()
}

fn port(family: IpFamily, port: u16) -> SocketAddr {
    SocketAddr::new(Way::ClusterIp.ip(family, 1), port)
}

/// The tracked flows to `to`, as the kernel tells them.
fn flows(to: SocketAddr) -> usize {
    let tracked = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
    let ip = match to.ip() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        // Written in full there.
        std::net::IpAddr::V6(ip) => ip.segments().map(|segment| format!("{segment:04x}")).join(":"),
    };
    let (ip, port) = (format!(" dst={ip} "), format!(" dport={} ", to.port()));
    tracked.lines().filter(|line| line.contains(&ip) && line.contains(&port)).count()
}

async fn pinned_clients_move_on_when_their_endpoint_goes(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    let mut changes = pods(1, Some(FAR_A), Some(FAR_A));
    changes.push(service(1));
    proxy.relist(changes).await;
    for family in FAMILIES {
        let by_node_port = Way::NodePort.to(family, 1);
        let targets = [
            (CLIENT, port(family, DNS)),
            (NEAR_B, port(family, DNS)),
            (NODE, port(family, DNS)),
            (CLIENT, by_node_port),
        ];
        let sockets = targets.map(|(from, to)| (network.pinned(from, to), to));
        for (socket, to) in &sockets {
            let said = ask_pinned(socket, *to).await.unwrap();
            assert_eq!(said.by, FAR_A.ip(family), "{to}");
        }
        proxy.change(pods(1, Some(FAR_B), Some(FAR_A))).await;
        for (socket, to) in &sockets {
            eventually(&format!("the client of {to} moves on"), MOVED, async || {
                let said = tokio::time::timeout(LOST, ask_udp(socket, *to)).await;
                said.is_ok_and(|said| said.is_ok_and(|said| said.by == FAR_B.ip(family)))
            })
            .await;
        }
        proxy.change(pods(1, Some(FAR_A), Some(FAR_A))).await;
    }
    proxy.stop().await;
}

async fn flows_to_other_ports_and_addresses_are_left_alone(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    let mut changes = pods(1, Some(FAR_A), Some(FAR_A));
    changes.push(service(1));
    proxy.relist(changes).await;
    for family in FAMILIES {
        let (dns, other) = (port(family, DNS), port(family, OTHER));
        let direct = SocketAddr::new(FAR_A.ip(family), POD_PORT);
        let kept = [other, direct].map(|to| (network.pinned(CLIENT, to), to));
        let moved = network.pinned(CLIENT, dns);
        assert!(ask_pinned(&moved, dns).await.is_ok());
        for (socket, to) in &kept {
            assert!(ask_pinned(socket, *to).await.is_ok());
            assert_eq!(flows(*to), 1, "{to}");
        }
        proxy.change(pods(1, Some(FAR_B), Some(FAR_A))).await;
        eventually("the stale flow is cleared", MOVED, async || flows(dns) == 0).await;
        for (_, to) in &kept {
            assert_eq!(flows(*to), 1, "{to} was cleared too");
        }
        proxy.change(pods(1, Some(FAR_A), Some(FAR_A))).await;
    }
    proxy.stop().await;
}

async fn clients_without_an_endpoint_are_told_and_recover(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    let mut changes = pods(1, Some(FAR_A), None);
    changes.push(service(1));
    proxy.relist(changes).await;
    for family in FAMILIES {
        let to = port(family, DNS);
        let client = network.pinned(CLIENT, to);
        assert!(ask_pinned(&client, to).await.is_ok());
        proxy.change(pods(1, None, None)).await;
        eventually("the client is told", MOVED, async || {
            let answer = tokio::time::timeout(LOST, ask_udp(&client, to)).await;
            answer == Ok(Err(Failure::Refused))
        })
        .await;
        proxy.change(pods(1, Some(FAR_A), None)).await;
        eventually("the client recovers", MOVED, async || {
            tokio::time::timeout(LOST, ask_udp(&client, to)).await.is_ok_and(|said| said.is_ok())
        })
        .await;
    }
    proxy.stop().await;
}

in_every_mode!(
    pinned_clients_move_on_when_their_endpoint_goes,
    flows_to_other_ports_and_addresses_are_left_alone,
    clients_without_an_endpoint_are_told_and_recover,
);

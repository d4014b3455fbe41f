//! Clients that stay with their endpoint.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use netproxy::input::Protocol;

use crate::fixture::{FROM_OUTSIDE, Way, backed, external, running};
use crate::mode::{Mode, in_every_mode};
use crate::proxy::RunningProxy;
use crate::topology::{CLIENT, FAMILIES, FAR_A, FAR_B, NEAR_A, NEAR_B, Network, Place};

const PODS: [Place; 3] = [NEAR_A, FAR_A, FAR_B];
/// Connections that would not all end at one of three endpoints by chance.
const ENOUGH: usize = 16;
/// Hosts of the client's link that are clients too.
const CLIENTS: std::ops::Range<u8> = 10..50;
/// An hour.
const LONG: u32 = 3600;

async fn endpoint(network: &Network, from: Place, to: SocketAddr) -> IpAddr {
    network.ask(from, Protocol::Tcp, to).await.unwrap_or_else(|e| panic!("{to}: {e:?}")).by
}

async fn clients_stay_with_their_endpoint_whatever_the_way(mode: Mode) {
    let network = Network::build();
    network.extend(CLIENT, CLIENTS);
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(running(external(1).affinity(LONG), 1, &PODS)).await;
    for family in FAMILIES {
        let cluster_ip = Way::ClusterIp.to(family, 1);
        for from in [CLIENT, NEAR_B] {
            let first = endpoint(&network, from, cluster_ip).await;
            for _ in 0..ENOUGH {
                assert_eq!(endpoint(&network, from, cluster_ip).await, first);
            }
            for to in FROM_OUTSIDE.map(|way| way.to(family, 1)) {
                assert_eq!(endpoint(&network, from, to).await, first, "{to}");
            }
        }
        let mut chosen = BTreeSet::new();
        for host in CLIENTS {
            let client = CLIENT.other(host);
            let first = endpoint(&network, client, cluster_ip).await;
            assert_eq!(endpoint(&network, client, cluster_ip).await, first);
            chosen.insert(first);
        }
        assert_eq!(chosen, PODS.map(|pod| pod.ip(family)).into(), "others may go elsewhere");
    }
    proxy.stop().await;
}

async fn clients_of_a_gone_endpoint_find_another_and_stay_there(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(running(external(1).affinity(LONG), 1, &PODS)).await;
    for family in FAMILIES {
        let to = Way::ClusterIp.to(family, 1);
        let first = endpoint(&network, CLIENT, to).await;
        let left: Vec<_> = PODS.into_iter().filter(|pod| pod.ip(family) != first).collect();
        proxy.change(backed(1, &left)).await;
        let second = endpoint(&network, CLIENT, to).await;
        assert_ne!(second, first);
        for _ in 0..ENOUGH {
            assert_eq!(endpoint(&network, CLIENT, to).await, second);
        }
        // Syncs that leave the endpoint alone leave its clients alone.
        proxy.change(backed(1, &PODS)).await;
        assert_eq!(endpoint(&network, CLIENT, to).await, second);
    }
    proxy.stop().await;
}

async fn clients_stay_through_restarts_and_changes_of_other_services(mode: Mode) {
    let network = Network::build();
    network.extend(CLIENT, CLIENTS);
    let with = |number| {
        let mut changes = running(external(1).affinity(LONG), 1, &PODS);
        changes.extend(running(external(number).affinity(LONG), number, &PODS));
        changes
    };
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(with(2)).await;
    let mut chosen = Vec::new();
    for (host, family) in CLIENTS.flat_map(|host| FAMILIES.map(|family| (host, family))) {
        let (client, to) = (CLIENT.other(host), Way::ClusterIp.to(family, 1));
        chosen.push((client, to, endpoint(&network, client, to).await));
    }
    proxy.relist(with(3)).await;
    proxy.stop().await;
    let mut again = RunningProxy::start(mode).await;
    again.relist(with(4)).await;
    for (client, to, first) in chosen {
        assert_eq!(endpoint(&network, client, to).await, first, "{client:?}");
    }
    again.stop().await;
}

async fn affinity_ends_after_its_timeout(mode: Mode) {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let network = Network::build();
    network.extend(CLIENT, CLIENTS);
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(running(external(1).affinity(1), 1, &PODS)).await;
    for family in FAMILIES {
        let to = Way::ClusterIp.to(family, 1);
        let mut asked = Vec::new();
        for host in CLIENTS {
            let at = Instant::now();
            asked.push((host, at, endpoint(&network, CLIENT.other(host), to).await));
        }
        // Each client is asked once more only, because every connection begins the time anew.
        let mut pace = tokio::time::interval(Duration::from_millis(75));
        let mut moved = false;
        for (host, at, first) in asked {
            pace.tick().await;
            let again = endpoint(&network, CLIENT.other(host), to).await;
            assert!(again == first || at.elapsed() >= TIMEOUT, "moved after {:?}", at.elapsed());
            moved |= again != first;
            if moved {
                break;
            }
        }
        assert!(moved, "nobody moved in three times the timeout");
    }
    proxy.stop().await;
}

in_every_mode!(
    clients_stay_with_their_endpoint_whatever_the_way,
    clients_of_a_gone_endpoint_find_another_and_stay_there,
    clients_stay_through_restarts_and_changes_of_other_services,
    affinity_ends_after_its_timeout,
);

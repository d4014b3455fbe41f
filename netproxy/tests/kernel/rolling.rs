//! Endpoints that come and go while clients keep coming.

use netproxy::config::IpFamily;
use netproxy::testing::SliceBuilder;

use crate::ask::Connection;
use crate::fixture::{FROM_OUTSIDE, Way, WithPods, external, running, slice_of};
use crate::mode::{Mode, in_every_mode};
use crate::proxy::RunningProxy;
use crate::server::Server;
use crate::topology::{CLIENT, FAMILIES, FAR_A, FAR_B, NEAR_A, NEAR_B, Network, Place};

/// Replacements of one endpoint each.
const REPLACEMENTS: u8 = 20;

/// Pod `number` of the rollout; they take turns between two hosts and the node.
fn pod(number: u8) -> Place {
    [FAR_A, FAR_B, NEAR_A][usize::from(number % 3)].other(10 + number)
}

async fn no_connection_fails_while_endpoints_are_replaced_one_by_one(mode: Mode) {
    let network = Network::build();
    for place in [FAR_A, FAR_B, NEAR_A] {
        network.extend(place, 10..=11 + REPLACEMENTS);
    }
    let mut serving: Vec<(Place, Server)> =
        [0, 1].map(|number| (pod(number), network.serve(pod(number)))).into();
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(running(external(1), 1, &[pod(0), pod(1)])).await;

    let mut targets = FAMILIES.map(|family| Way::ClusterIp.to(family, 1)).to_vec();
    targets.extend(FROM_OUTSIDE.map(|way| way.to(IpFamily::V4, 1)));
    let mut load = network.load(CLIENT, &targets);
    for number in 2..2 + REPLACEMENTS {
        let (old, server) = serving.remove(0);
        serving.push((pod(number), network.serve(pod(number))));
        let fill = |slice: SliceBuilder, family| {
            serving.iter().fold(slice, |slice, (pod, _)| slice.pod(family, *pod))
        };
        // The new one is added, the old one drains, and then it goes.
        let draining = FAMILIES
            .map(|family| fill(slice_of(family, 1), family).draining(family, old).applied());
        proxy.change(draining).await;
        // Who was on the way to the old one has got there.
        load.goes_on().await;
        server.stop().await;
        load.goes_on().await;
        let gone = FAMILIES.map(|family| fill(slice_of(family, 1), family).applied());
        proxy.change(gone).await;
        load.goes_on().await;
    }
    load.ends_without_failure();
    proxy.stop().await;
}

async fn established_connections_outlive_their_endpoints_and_services(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(running(external(1), 1, &[FAR_A])).await;
    let mut open: Vec<Connection> = Vec::new();
    for from in [CLIENT, NEAR_B] {
        for family in FAMILIES {
            for way in [Way::ClusterIp, Way::NodePort] {
                open.push(network.connect(from, way.to(family, 1)).await);
            }
        }
    }
    let mut firsts = Vec::new();
    for connection in &mut open {
        firsts.push(connection.ask().await.unwrap());
    }
    let moved = FAMILIES.map(|family| slice_of(family, 1).pod(family, NEAR_A).applied());
    proxy.change(moved).await;
    still_open(&mut open, &firsts).await;
    proxy.change(FAMILIES.map(|family| slice_of(family, 1).applied())).await;
    still_open(&mut open, &firsts).await;
    // Not a service is left.
    proxy.relist(Vec::new()).await;
    still_open(&mut open, &firsts).await;
    proxy.stop().await;
    still_open(&mut open, &firsts).await;
}

async fn still_open(open: &mut [Connection], firsts: &[crate::ask::Said]) {
    for (connection, first) in open.iter_mut().zip(firsts) {
        assert_eq!(connection.ask().await.as_ref(), Ok(first));
    }
}

in_every_mode!(
    no_connection_fails_while_endpoints_are_replaced_one_by_one,
    established_connections_outlive_their_endpoints_and_services,
);

//! Which endpoints take part: ready, draining, near.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netproxy::config::IpFamily;
use netproxy::input::{NodeFacts, Protocol};
use netproxy::testing::SliceBuilder;
use netproxy::testing::build::LOCAL_NODE;

use crate::fixture::{Way, WithPods, external, internal, slice_of};
use crate::mode::{Mode, in_every_mode};
use crate::proxy::{RunningProxy, this_node};
use crate::topology::{CLIENT, FAMILIES, FAR_A, FAR_B, NEAR_A, NEAR_B, Network, Place};

/// Connections after which an endpoint that should not answer would have.
const ENOUGH: usize = 16;
/// Connections after which every endpoint has answered.
const MANY: usize = 200;

/// Checks that exactly these pods answer.
async fn answered_by(network: &Network, from: Place, way: Way, pods: &[Place]) {
    for family in FAMILIES {
        let expected: BTreeSet<IpAddr> = pods.iter().map(|pod| pod.ip(family)).collect();
        let mut found = BTreeSet::new();
        for count in 1..=MANY {
            let said = network.ask(from, Protocol::Tcp, way.to(family, 1)).await;
            found.insert(said.unwrap().by);
            if !found.is_subset(&expected) || (found == expected && count >= ENOUGH) {
                break;
            }
        }
        assert_eq!(found, expected, "{from:?} by {way:?} over {family}");
    }
}

async fn show(proxy: &mut RunningProxy, fill: impl Fn(SliceBuilder, IpFamily) -> SliceBuilder) {
    proxy.change(FAMILIES.map(|family| fill(slice_of(family, 1), family).applied())).await;
}

async fn draining_endpoints_serve_only_when_no_other_is_left(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(vec![external(1).external_local().applied()]).await;

    show(&mut proxy, |s, f| s.draining(f, NEAR_A).pod(f, FAR_A).draining(f, FAR_B)).await;
    answered_by(&network, CLIENT, Way::ClusterIp, &[FAR_A]).await;
    // Policy Local looks at the node alone.
    answered_by(&network, CLIENT, Way::NodePort, &[NEAR_A]).await;

    show(&mut proxy, |s, f| s.draining(f, NEAR_A).pod(f, NEAR_B).draining(f, FAR_B)).await;
    answered_by(&network, CLIENT, Way::ClusterIp, &[NEAR_B]).await;
    answered_by(&network, CLIENT, Way::NodePort, &[NEAR_B]).await;

    show(&mut proxy, |s, f| {
        let unready = s.pod(f, NEAR_B).conditions(false, false, false);
        let ended = unready.pod(f, FAR_A).conditions(false, false, true);
        ended.draining(f, NEAR_A).draining(f, FAR_B)
    })
    .await;
    answered_by(&network, CLIENT, Way::ClusterIp, &[NEAR_A, FAR_B]).await;
    answered_by(&network, CLIENT, Way::NodePort, &[NEAR_A]).await;
    proxy.stop().await;
}

async fn hints_keep_traffic_near_unless_one_is_missing(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    let node = NodeFacts { zone: Some("here".into()), ..this_node() };
    proxy.relist_on(node, vec![internal(1).applied()]).await;

    let zones = |s: SliceBuilder, f| {
        let near = s.pod(f, NEAR_A).for_zone("here").pod(f, FAR_A).for_zone("here");
        near.pod(f, FAR_B)
    };
    show(&mut proxy, |s, f| zones(s, f).for_zone("there")).await;
    answered_by(&network, NEAR_B, Way::ClusterIp, &[NEAR_A, FAR_A]).await;
    show(&mut proxy, zones).await;
    answered_by(&network, NEAR_B, Way::ClusterIp, &[NEAR_A, FAR_A, FAR_B]).await;

    show(&mut proxy, |s, f| {
        let here = s.pod(f, NEAR_A).for_zone("here").for_node(LOCAL_NODE);
        here.pod(f, FAR_A).for_zone("here").for_node("another")
    })
    .await;
    answered_by(&network, NEAR_B, Way::ClusterIp, &[NEAR_A]).await;

    show(&mut proxy, |s, f| s.pod(f, FAR_A).for_zone("there").pod(f, FAR_B).for_zone("there"))
        .await;
    answered_by(&network, NEAR_B, Way::ClusterIp, &[FAR_A, FAR_B]).await;
    proxy.stop().await;
}

in_every_mode!(
    draining_endpoints_serve_only_when_no_other_is_left,
    hints_keep_traffic_near_unless_one_is_missing,
);

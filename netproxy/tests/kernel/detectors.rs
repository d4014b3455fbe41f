//! The ways to tell pods from others, and the mark that asks for masquerading.

use std::net::IpAddr;

use netproxy::NodeFacts;
use netproxy::config::{IpFamily, LocalTraffic, ProxyConfig};
use netproxy::input::Protocol;

use crate::ask::Said;
use crate::fixture::{Way, external, internal, running};
use crate::mode::{Mode, in_every_mode};
use crate::network::run;
use crate::proxy::{RunningProxy, config, this_node};
use crate::topology::{CLIENT, FAMILIES, FAR_A, NEAR_A, NEAR_B, NODE, Network, Place};

/// The source that the pod behind service 1 sees.
async fn seen(network: &Network, from: Place, family: IpFamily) -> IpAddr {
    let said = network.ask(from, Protocol::Tcp, Way::ClusterIp.to(family, 1)).await;
    let Said { by, saw } = said.unwrap();
    assert_eq!(by, FAR_A.ip(family));
    saw
}

async fn each_detector_knows_pods_in_its_own_way(mode: Mode) {
    let network = Network::build();
    let pod_cidrs = ["10.244.5.0/24", "fd00:244:5::/64"].map(|cidr| cidr.parse().unwrap());
    let node = NodeFacts { pod_cidrs: pod_cidrs.into(), ..this_node() };
    let all = ["10.244.0.0/16", "fd00:244::/32"].map(|cidr| cidr.parse().unwrap());
    for (detector, pods) in [
        (LocalTraffic::ClusterCidrs(all.into()), &[NEAR_A, NEAR_B][..]),
        (LocalTraffic::NodeCidrs, &[NEAR_B]),
        (LocalTraffic::Bridge(NEAR_A.device().into()), &[NEAR_A]),
        (LocalTraffic::InterfacePrefix("pod".into()), &[NEAR_A, NEAR_B]),
    ] {
        let settings = ProxyConfig { local_traffic: detector.clone(), ..config(mode) };
        let mut proxy = RunningProxy::configured(mode, settings).await;
        proxy.relist_on(node.clone(), running(internal(1), 1, &[FAR_A])).await;
        for family in FAMILIES {
            for from in [NEAR_A, NEAR_B, CLIENT, NODE] {
                let own = pods.contains(&from);
                let expected = if own { from.ip(family) } else { FAR_A.gateway(family) };
                let found = seen(&network, from, family).await;
                assert_eq!(found, expected, "{from:?} by {detector:?}");
            }
        }
        proxy.stop().await;
    }
}

async fn marks_of_others_are_neither_taken_for_ours_nor_lost(mode: Mode) {
    let network = Network::build();
    for bit in [0, 31] {
        let settings = ProxyConfig { masquerade_bit: bit, ..config(mode) };
        let mut proxy = RunningProxy::configured(mode, settings).await;
        proxy.relist(running(external(1), 1, &[FAR_A])).await;
        // Somebody marks all new connections with every other bit.
        let mark = format!("{:#x}/{:#x}", !(1_u32 << bit), u32::MAX);
        for (family, command) in FAMILIES.into_iter().zip(["iptables", "ip6tables"]) {
            let rule = ["PREROUTING", "-t", "mangle", "-j", "MARK", "--set-xmark", &mark];
            run(command, &[&["-A"], &rule[..]].concat());
            assert_eq!(seen(&network, NEAR_B, family).await, NEAR_B.ip(family), "bit {bit}");
            assert_eq!(seen(&network, CLIENT, family).await, FAR_A.gateway(family), "bit {bit}");
            run(command, &[&["-D"], &rule[..]].concat());
        }
        proxy.stop().await;
    }
}

in_every_mode!(
    each_detector_knows_pods_in_its_own_way,
    marks_of_others_are_neither_taken_for_ours_nor_lost,
);

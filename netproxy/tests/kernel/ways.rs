//! Who may come in which way: source ranges, addresses of node ports, health checks, and services
//! that are not ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use std::time::Duration;

use netproxy::config::{IpFamily, NodePortAddresses, ProxyConfig};
use netproxy::input::{Protocol, ServiceType};

use crate::ask::{ANSWER, Answer, Failure, LOST};
use crate::fixture::{
    FROM_OUTSIDE, Way, WithPods, external, internal, node_port, running, slice_of,
};
use crate::mode::{Mode, in_every_mode, in_modes_of_iptables};
use crate::network::run;
use crate::proxy::{RunningProxy, config, eventually};
use crate::rules::iptables;
use crate::topology::{CLIENT, FAMILIES, FAR_A, FAR_B, NEAR_A, NEAR_B, NODE, Network, Place, set};

/// Longest time until changed addresses of the node are known.
const FOLLOWED: Duration = Duration::from_secs(5);
/// An outside address beyond the source ranges.
const STRANGER: Place = CLIENT.other(200);

async fn tcp(network: &Network, from: Place, to: SocketAddr) -> Answer {
    network.ask(from, Protocol::Tcp, to).await
}

/// Whether a question is answered; else how it failed, silence being looked for.
async fn outcome(network: &Network, from: Place, to: SocketAddr, wanted: bool) -> Answer {
    let own = (from != NODE).then(|| from.ip(IpFamily::of(to.ip())));
    let patience = if wanted { ANSWER } else { LOST };
    network.ask_from(from, own, Protocol::Tcp, to, patience).await
}

async fn only_source_ranges_reach_load_balancer_addresses(mode: Mode) {
    let network = Network::build();
    network.extend(CLIENT, [200]);
    let mut proxy = RunningProxy::start(mode).await;
    let of_client = ["10.0.1.0/28", "fd00:10::1:0/124"];
    let of_pod = ["10.244.5.0/24", "fd00:244:5::/64"];
    let ranged = |number, ranges: [&str; 2]| {
        ranges.iter().fold(external(number), |service, range| service.source_range(range))
    };
    let mut changes = running(ranged(1, of_client), 1, &[FAR_A]);
    changes.extend(running(ranged(2, of_pod), 2, &[FAR_A]));
    proxy.relist(changes).await;
    for family in FAMILIES {
        for (from, number, allowed) in [
            (CLIENT, 1, true),
            (STRANGER, 1, false),
            (NEAR_B, 1, false),
            (NODE, 1, true),
            (CLIENT, 2, false),
            (NEAR_B, 2, true),
            (NODE, 2, false),
        ] {
            let to = Way::LoadBalancer.to(family, number);
            let found = outcome(&network, from, to, allowed).await;
            let expected = if allowed { found.is_ok() } else { found == Err(Failure::Silence) };
            assert!(expected, "{from:?} to {to}: {found:?}");
            // The ranges are for no other way.
            for way in [Way::NodePort, Way::ExternalIp, Way::ClusterIp] {
                let found = tcp(&network, from, way.to(family, number)).await;
                assert!(found.is_ok(), "{from:?} by {way:?}: {found:?}");
            }
        }
    }
    proxy.stop().await;
}

async fn a_node_within_the_ranges_reaches_addresses_bound_to_it(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    let of_node = ["10.0.1.1/32", "fd00:10::1:1/128"];
    let of_others = ["10.0.2.0/24", "fd00:10::2:0/112"];
    let ranged = |number, ranges: [&str; 2]| {
        ranges.iter().fold(external(number), |service, range| service.source_range(range))
    };
    let mut changes = running(ranged(1, of_node), 1, &[FAR_A]);
    changes.extend(running(ranged(2, of_others), 2, &[FAR_A]));
    proxy.relist(changes).await;
    for family in FAMILIES {
        for (number, allowed) in [(1, true), (2, false)] {
            let to = Way::LoadBalancer.to(family, number);
            // Load balancers in the cluster bind their addresses; such traffic comes from there.
            let bits = if family == IpFamily::V4 { 32 } else { 128 };
            let bound = format!("{}/{bits}", to.ip());
            run("ip", &["address", "add", &bound, "dev", "lo"]);
            let found = outcome(&network, NODE, to, allowed).await;
            let expected = if allowed { found.is_ok() } else { found == Err(Failure::Silence) };
            assert!(expected, "node to {to}: {found:?}");
        }
    }
    proxy.stop().await;
}

async fn start_with(mode: Mode, change: impl FnOnce(&mut ProxyConfig)) -> RunningProxy {
    let mut config = config(mode);
    change(&mut config);
    let mut proxy = RunningProxy::configured(mode, config).await;
    proxy.relist(running(external(1), 1, &[FAR_A])).await;
    proxy
}

/// What the node port of service 1 says at an address.
async fn node_port_at(network: &Network, from: Place, ip: IpAddr) -> Answer {
    let own = (from != NODE).then(|| from.ip(IpFamily::of(ip)));
    let to = SocketAddr::new(ip, node_port(1));
    network.ask_from(from, own, Protocol::Tcp, to, ANSWER).await
}

async fn node_ports_answer_at_their_addresses_only(mode: Mode) {
    let network = Network::build();
    let within = |networks: &[&str]| {
        NodePortAddresses::Within(networks.iter().map(|net| net.parse().unwrap()).collect())
    };
    let everywhere = [true, true];
    let primary = [true, false];
    for (addresses, [at_primary, at_other]) in [
        (NodePortAddresses::All, everywhere),
        (NodePortAddresses::Primary, primary),
        (within(&["10.0.1.0/24", "fd00:10::1:0/112"]), primary),
        (within(&["10.0.2.0/23", "fd00:10::2:0/111"]), [false, true]),
        (within(&["0.0.0.0/0", "::/0"]), everywhere),
        (within(&["192.0.2.0/24", "2001:db8::/64"]), [false, false]),
    ] {
        let proxy = start_with(mode, |config| config.node_port_addresses = addresses.clone()).await;
        for family in FAMILIES {
            for (at, wanted) in [(NODE, at_primary), (FAR_B, at_other)] {
                let found = node_port_at(&network, CLIENT, at.gateway(family)).await;
                let expected = if wanted { found.is_ok() } else { found == Err(Failure::Refused) };
                assert!(expected, "{addresses:?} at {}: {found:?}", at.gateway(family));
            }
        }
        proxy.stop().await;
    }
}

async fn node_ports_follow_the_addresses_of_the_node(mode: Mode) {
    let network = Network::build();
    let networks = ["192.0.2.0/24", "2001:db8::/64"].map(|net| net.parse().unwrap());
    let within = NodePortAddresses::Within(networks.into());
    let proxy = start_with(mode, |config| config.node_port_addresses = within).await;
    for (family, added) in FAMILIES.into_iter().zip(["192.0.2.1/32", "2001:db8::1/128"]) {
        let ip: IpAddr = added.split('/').next().unwrap().parse().unwrap();
        let answers = async || {
            let own = Some(CLIENT.ip(family));
            let to = SocketAddr::new(ip, node_port(1));
            network.ask_from(CLIENT, own, Protocol::Tcp, to, LOST).await.is_ok()
        };
        run("ip", &["address", "add", added, "dev", "lo"]);
        eventually("the new address answers", FOLLOWED, answers).await;
        run("ip", &["address", "del", added, "dev", "lo"]);
        eventually("the old address is quiet", FOLLOWED, async || !answers().await).await;
    }
    proxy.stop().await;
}

async fn node_ports_answer_on_ipv4_loopback_if_allowed(mode: Mode) {
    let network = Network::build();
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let open = start_with(mode, |_| {}).await;
    let said = node_port_at(&network, NODE, v4).await.unwrap();
    assert_eq!((said.by, said.saw), (FAR_A.ip(IpFamily::V4), FAR_A.gateway(IpFamily::V4)));
    assert_eq!(node_port_at(&network, NODE, v6).await, Err(Failure::Refused));
    open.stop().await;

    let closed = start_with(mode, |config| config.localhost_node_ports = false).await;
    assert_eq!(node_port_at(&network, NODE, v4).await, Err(Failure::Refused));
    assert_eq!(node_port_at(&network, NODE, v6).await, Err(Failure::Refused));
    assert!(node_port_at(&network, NODE, NODE.ip(IpFamily::V4)).await.is_ok());
    closed.stop().await;
}

async fn loopback_of_the_node_stays_closed_for_others(mode: Mode) {
    let network = Network::build();
    let proxy = start_with(mode, |_| {}).await;
    let private = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = private.local_addr().unwrap();
    // A neighbour who means this node with a loopback address.
    network.within(CLIENT, || {
        set("ipv4/conf/all/route_localnet", "1");
        run("ip", &["route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local"]);
        run("ip", &["route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local"]);
        run("ip", &["route", "add", "127.0.0.0/8", "via", "10.0.1.1", "dev", "eth0"]);
    });
    let found = outcome(&network, CLIENT, to, false).await;
    assert_eq!(found, Err(Failure::Silence));
    // That rule did it, and nothing else on the way.
    let counted = run("iptables", &["-t", "filter", "-S", "KUBE-FIREWALL", "-v"]);
    assert!(!counted.contains("-c 0 0"), "{counted}");
    proxy.stop().await;
}

async fn health_check_node_ports_are_let_in(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    let listeners: Vec<_> = FAMILIES
        .iter()
        .map(|family| TcpListener::bind(SocketAddr::new(NODE.ip(*family), 0)).unwrap())
        .collect();
    for (listener, family) in listeners.iter().zip(FAMILIES) {
        let to = listener.local_addr().unwrap();
        run(iptables(family), &["-P", "INPUT", "DROP"]);
        if family == IpFamily::V6 {
            // Without neighbours there is no IPv6 at all.
            run("ip6tables", &["-A", "INPUT", "-p", "icmpv6", "-j", "ACCEPT"]);
        }
        let connected = async || {
            let connect = network.connect(CLIENT, to);
            tokio::time::timeout(LOST, connect).await.is_ok()
        };
        proxy.relist(running(external(1).external_local(), 1, &[FAR_A])).await;
        assert!(!connected().await, "the policy lets nobody in");
        let checked = external(1).external_local().health_check(to.port());
        proxy.relist(running(checked, 1, &[FAR_A])).await;
        assert!(connected().await, "{to} is not let in");
    }
    proxy.stop().await;
}

async fn services_of_others_are_left_alone(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    let mut changes = Vec::new();
    let foreign = internal(1).label("service.kubernetes.io/service-proxy-name", "another");
    let by_name = internal(2).with(|s| s.spec.service_type = ServiceType::ExternalName);
    for (number, service) in [(1, foreign), (2, by_name), (3, internal(3))] {
        changes.extend(running(service, number, &[NEAR_A]));
    }
    changes.push(internal(4).applied());
    changes.extend(FAMILIES.map(|family| {
        let label = "service.kubernetes.io/headless".into();
        let headless = slice_of(family, 4).pod(family, NEAR_A);
        headless.with(|slice| drop(slice.metadata.labels.insert(label, "".into()))).applied()
    }));
    proxy.relist(changes).await;
    for family in FAMILIES {
        for number in [1, 2] {
            let to = Way::ClusterIp.to(family, number);
            assert_eq!(outcome(&network, CLIENT, to, false).await, Err(Failure::Silence), "{to}");
        }
        assert!(tcp(&network, CLIENT, Way::ClusterIp.to(family, 3)).await.is_ok());
        let unbacked = tcp(&network, CLIENT, Way::ClusterIp.to(family, 4)).await;
        assert_eq!(unbacked, Err(Failure::Refused), "slices for others are none of ours");
    }
    proxy.stop().await;
}

async fn other_ports_of_cluster_addresses_are_refused_by_nftables_only(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(running(internal(1), 1, &[NEAR_A])).await;
    let refuses = mode == Mode::Nftables;
    let expected = if refuses { Failure::Refused } else { Failure::Silence };
    for family in FAMILIES {
        let to = SocketAddr::new(Way::ClusterIp.ip(family, 1), 81);
        for from in [CLIENT, NEAR_B, NODE] {
            let found = outcome(&network, from, to, refuses).await;
            assert_eq!(found, Err(expected.clone()), "{from:?} to {to}");
        }
    }
    proxy.stop().await;
}

async fn addresses_for_the_load_balancer_only_are_not_ours(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    let by_proxy = external(1).with(|service| {
        for ingress in &mut service.status.load_balancer.ingress {
            ingress.ip_mode = Some("Proxy".into());
        }
    });
    proxy.relist(running(by_proxy, 1, &[NEAR_A])).await;
    for family in FAMILIES {
        for way in FROM_OUTSIDE {
            let wanted = way != Way::LoadBalancer;
            let found = outcome(&network, CLIENT, way.to(family, 1), wanted).await;
            let expected = if wanted { found.is_ok() } else { found == Err(Failure::Silence) };
            assert!(expected, "{way:?}: {found:?}");
        }
    }
    proxy.stop().await;
}

in_every_mode!(
    only_source_ranges_reach_load_balancer_addresses,
    a_node_within_the_ranges_reaches_addresses_bound_to_it,
    node_ports_answer_at_their_addresses_only,
    node_ports_follow_the_addresses_of_the_node,
    services_of_others_are_left_alone,
    addresses_for_the_load_balancer_only_are_not_ours,
    other_ports_of_cluster_addresses_are_refused_by_nftables_only,
);

in_modes_of_iptables!(
    node_ports_answer_on_ipv4_loopback_if_allowed,
    loopback_of_the_node_stays_closed_for_others,
    health_check_node_ports_are_let_in,
);

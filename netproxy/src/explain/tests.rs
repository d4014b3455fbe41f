//! Reports of one small cluster as golden texts.

use std::net::IpAddr;

use expect_test::{Expect, expect};

use super::compare::DiffReport;
use super::packet::{Connection, Question};
use super::service::ServiceFacts;
use super::text::{diff_text, packet_text, service_text};
use super::*;
use crate::config::{IpFamily, LocalTraffic, ProxyConfig};
use crate::input::{ObjectKey, ObjectKind, Protocol, ServiceChange};
use crate::iptables::render::saved_text;
use crate::mode::BackendKind;
use crate::model::changes::ServiceMap;
use crate::nftables::LiveTable;
use crate::nftables::state::SetName;
use crate::rules::RuleContext;
use crate::rules::context::MachineFacts;
use crate::testing::build::LOCAL_NODE;
use crate::testing::{node, service, slice};

const NODE: &str = "192.168.0.2";
const NODE_V6: &str = "2001:db8:9::2";

fn map() -> ServiceMap {
    let web = service("shop/web")
        .cluster_ip("10.96.0.20")
        .cluster_ip("fd00:96::20")
        .port("http", Protocol::Tcp, 80)
        .node_port(30080)
        .external_local()
        .load_balancer_ip("203.0.113.50")
        .source_range("198.51.100.0/24")
        .health_check(31000)
        .affinity(600);
    let web_slice = slice("shop/web")
        .port("http", Protocol::Tcp, 8080)
        .local("10.1.0.5")
        .endpoint("10.1.1.7")
        .endpoint("10.1.1.9")
        .conditions(false, false, false);
    let web_v6 =
        slice("shop/web").named("web-6").port("http", Protocol::Tcp, 8080).local("fd00:1::5");
    let dns = service("kube-system/dns")
        .cluster_ip("10.96.0.10")
        .port("dns", Protocol::Udp, 53)
        .port("dns-tcp", Protocol::Tcp, 53);
    let dns_slice = slice("kube-system/dns")
        .port("dns", Protocol::Udp, 53)
        .port("dns-tcp", Protocol::Tcp, 53)
        .endpoint("10.1.1.2")
        .for_zone("a")
        .endpoint("10.1.2.2")
        .for_zone("b")
        .local("10.1.0.2")
        .for_zone("a");
    let empty = service("shop/empty").cluster_ip("10.96.0.30").port("", Protocol::Tcp, 80);
    let waiting = service("shop/waiting").cluster_ip("10.96.0.31").port("", Protocol::Tcp, 80);
    let waiting_slice = slice("shop/waiting")
        .port("", Protocol::Tcp, 80)
        .endpoint("10.1.1.3")
        .conditions(false, true, false);
    let alias = service("shop/alias")
        .with(|service| service.spec.service_type = crate::input::ServiceType::ExternalName);
    let mut local = node(&[NODE, NODE_V6]);
    local.zone = Some("a".into());
    let mut map = ServiceMap::default();
    for change in [
        web.applied(),
        web_slice.applied(),
        web_v6.applied(),
        dns.applied(),
        dns_slice.applied(),
        empty.applied(),
        waiting.applied(),
        waiting_slice.applied(),
        alias.applied(),
        ServiceChange::NodeApplied(Box::new(local)),
        ServiceChange::Synced(ObjectKind::Node),
    ] {
        assert_eq!(map.apply(change), None);
    }
    map
}

fn local_addresses() -> Vec<IpAddr> {
    [NODE, NODE_V6, "127.0.0.1", "::1"].map(|text| text.parse().unwrap()).into()
}

fn plan(family: IpFamily) -> FamilyPlan {
    plan_for(family, BackendKind::Iptables)
}

fn plan_for(family: IpFamily, kind: BackendKind) -> FamilyPlan {
    let map = map();
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.local_traffic = LocalTraffic::ClusterCidrs(
        ["10.1.0.0/16", "fd00:1::/64"].map(|net| net.parse().unwrap()).into(),
    );
    let facts = MachineFacts { local_addresses: &[], random_fully: true, liberal_conntrack: false };
    FamilyPlan::new(&map, kind, RuleContext::new(&config, family, map.node(), facts))
}

/// The live rules when the plan is in place, but for these changes of their text.
fn live(plan: &FamilyPlan, changes: &[(&str, &str)]) -> LiveState {
    let mut text = saved(plan);
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text = text.replace(from, to);
    }
    LiveState::Iptables(LiveRules::of_saved(&text, plan.context.family))
}

fn saved(plan: &FamilyPlan) -> String {
    let PlannedTable::Iptables { rules, .. } = &plan.table else { panic!("nftables") };
    saved_text(rules, plan.context.family)
}

fn packet(source: &str, destination: &str, changes: &[(&str, &str)], expected: &Expect) {
    let (place, protocol) = destination.rsplit_once('/').unwrap();
    let local_addresses = local_addresses();
    let question = Question {
        source: source.parse().unwrap(),
        destination: place.parse().unwrap(),
        protocol: Protocol::from_name(protocol).unwrap(),
        interface: None,
        local_addresses: &local_addresses,
    };
    let plan = plan(IpFamily::of(question.source));
    let live = live(&plan, changes);
    expected.assert_eq(&packet_text(&explain_packet(&question, &plan, Ok(&live), None)));
}

fn about(name: &str, from: Option<&str>, changes: &[(&str, &str)], expected: &Expect) {
    let (map, local_addresses) = (map(), local_addresses());
    let key = ObjectKey::new(name.split_once('/').unwrap().0, name.split_once('/').unwrap().1);
    let (v4, v6) = (plan(IpFamily::V4), plan(IpFamily::V6));
    let lives = (live(&v4, changes), live(&v6, &[]));
    let plans = [(v4, Ok(&lives.0)), (v6, Ok(&lives.1))];
    let facts = ServiceFacts {
        map: &map,
        key: &key,
        from: from.map(|text| text.parse().unwrap()),
        local_addresses: &local_addresses,
    };
    expected.assert_eq(&service_text(&explain_service(facts, &plans).unwrap()));
}

#[test]
fn packet_to_a_cluster_address_names_service_and_endpoints() {
    packet(
        "10.1.0.9",
        "10.96.0.10:53/udp",
        &[],
        &expect![[r#"
        packet   10.1.0.9 > 10.96.0.10:53/udp, from a pod
        service  kube-system/dns:dns, cluster IP, policy Cluster, 3 endpoints known
        outcome  goes to one of 2 endpoints, source kept

        plan
          nat PREROUTING 1     to KUBE-SERVICES              kubernetes service portals
          nat KUBE-SERVICES 1  to KUBE-SVC-2KKYJRIGYGQNRODB  kube-system/dns:dns cluster IP
          50 %                 DNAT to 10.1.0.2:53           by KUBE-SVC-2KKYJRIGYGQNRODB, KUBE-SEP-M2XE2RBTK26C5ZL3
          50 %                 DNAT to 10.1.1.2:53           by KUBE-SVC-2KKYJRIGYGQNRODB, KUBE-SEP-RNG5VARRACQJFFR2

        kernel: as planned
    "#]],
    );
}

#[test]
fn packet_to_a_node_port_from_outside_stays_local() {
    packet(
        "192.0.2.7",
        "192.168.0.2:30080/tcp",
        &[],
        &expect![[r#"
        packet   192.0.2.7 > 192.168.0.2:30080/tcp, from outside the cluster's pods
        service  shop/web:http, node port, policy Local, 3 endpoints known, a client keeps its endpoint for 600 s
        outcome  goes to 10.1.0.5:8080, source kept

        plan
          nat PREROUTING 1                 to KUBE-SERVICES              kubernetes service portals
          nat KUBE-SERVICES 5              to KUBE-NODEPORTS             kubernetes service nodeports; NOTE: this must be the last rule in this chain
          nat KUBE-NODEPORTS 1             to KUBE-EXT-67NZLRHBNDSAWJRO  shop/web:http
          nat KUBE-EXT-67NZLRHBNDSAWJRO 4  to KUBE-SVL-67NZLRHBNDSAWJRO
          nat KUBE-SVL-67NZLRHBNDSAWJRO 2  to KUBE-SEP-UZBLB3XX2HRLVOJ5  shop/web:http -> 10.1.0.5:8080
          nat KUBE-SEP-UZBLB3XX2HRLVOJ5 2  DNAT to 10.1.0.5:8080         shop/web:http
          filter FORWARD 1                 to KUBE-PROXY-FIREWALL        kubernetes load balancer firewall
          filter FORWARD 2                 to KUBE-FORWARD               kubernetes forwarding rules
          filter FORWARD 3                 to KUBE-SERVICES              kubernetes service portals
          filter FORWARD 4                 to KUBE-EXTERNAL-SERVICES     kubernetes externally-visible service portals
          nat POSTROUTING 1                to KUBE-POSTROUTING           kubernetes postrouting rules
          nat KUBE-POSTROUTING 1           back                          -m mark ! --mark 0x4000/0x4000

        kernel: as planned
    "#]],
    );
}

#[test]
fn packet_to_a_service_without_endpoints_says_why() {
    packet(
        "10.1.0.9",
        "10.96.0.30:80/tcp",
        &[],
        &expect![[r#"
        packet   10.1.0.9 > 10.96.0.30:80/tcp, from a pod
        service  shop/empty, cluster IP, policy Cluster, 0 endpoints known
        outcome  rejected by rule 1 of filter KUBE-SERVICES: shop/empty has no endpoints (its EndpointSlices name none: look at the selector and the pods)

        plan
          nat PREROUTING 1        to KUBE-SERVICES        kubernetes service portals
          filter FORWARD 1        to KUBE-PROXY-FIREWALL  kubernetes load balancer firewall
          filter FORWARD 2        to KUBE-FORWARD         kubernetes forwarding rules
          filter FORWARD 3        to KUBE-SERVICES        kubernetes service portals
          filter KUBE-SERVICES 1  rejected                shop/empty has no endpoints

        kernel: as planned
    "#]],
    );
    packet(
        "10.1.0.9",
        "10.96.0.31:80/tcp",
        &[],
        &expect![[r#"
        packet   10.1.0.9 > 10.96.0.31:80/tcp, from a pod
        service  shop/waiting, cluster IP, policy Cluster, 1 endpoint known
        outcome  rejected by rule 2 of filter KUBE-SERVICES: shop/waiting has no endpoints (1 known, none ready)

        plan
          nat PREROUTING 1        to KUBE-SERVICES        kubernetes service portals
          filter FORWARD 1        to KUBE-PROXY-FIREWALL  kubernetes load balancer firewall
          filter FORWARD 2        to KUBE-FORWARD         kubernetes forwarding rules
          filter FORWARD 3        to KUBE-SERVICES        kubernetes service portals
          filter KUBE-SERVICES 2  rejected                shop/waiting has no endpoints

        kernel: as planned
    "#]],
    );
}

#[test]
fn packet_from_outside_the_source_ranges_is_dropped() {
    packet(
        "192.0.2.7",
        "203.0.113.50:80/tcp",
        &[],
        &expect![[r#"
        packet   192.0.2.7 > 203.0.113.50:80/tcp, from outside the cluster's pods
        service  shop/web:http, load balancer IP, policy Local, 3 endpoints known, a client keeps its endpoint for 600 s
        outcome  dropped by rule 1 of filter KUBE-PROXY-FIREWALL: shop/web:http traffic not accepted by KUBE-FW-67NZLRHBNDSAWJRO

        plan
          nat PREROUTING 1                to KUBE-SERVICES             kubernetes service portals
          nat KUBE-SERVICES 4             to KUBE-FW-67NZLRHBNDSAWJRO  shop/web:http loadbalancer IP
          nat KUBE-FW-67NZLRHBNDSAWJRO 2  nothing                      other traffic to shop/web:http will be dropped by KUBE-PROXY-FIREWALL
          filter FORWARD 1                to KUBE-PROXY-FIREWALL       kubernetes load balancer firewall
          filter KUBE-PROXY-FIREWALL 1    dropped                      shop/web:http traffic not accepted by KUBE-FW-67NZLRHBNDSAWJRO

        kernel: as planned
    "#]],
    );
}

#[test]
fn packet_to_no_service_is_left_alone() {
    packet(
        "10.1.0.9",
        "10.1.1.200:80/tcp",
        &[],
        &expect![[r#"
        packet   10.1.0.9 > 10.1.1.200:80/tcp, from a pod
        service  no service has this address and port
        outcome  not changed by the proxy

        plan
          nat PREROUTING 1        to KUBE-SERVICES           kubernetes service portals
          filter FORWARD 1        to KUBE-PROXY-FIREWALL     kubernetes load balancer firewall
          filter FORWARD 2        to KUBE-FORWARD            kubernetes forwarding rules
          filter FORWARD 3        to KUBE-SERVICES           kubernetes service portals
          filter FORWARD 4        to KUBE-EXTERNAL-SERVICES  kubernetes externally-visible service portals
          nat POSTROUTING 1       to KUBE-POSTROUTING        kubernetes postrouting rules
          nat KUBE-POSTROUTING 1  back                       -m mark ! --mark 0x4000/0x4000

        kernel: as planned
    "#]],
    );
    packet(
        "10.1.0.9",
        "10.96.0.10:54/udp",
        &[],
        &expect![[r#"
        packet   10.1.0.9 > 10.96.0.10:54/udp, from a pod
        service  10.96.0.10 is the cluster IP of kube-system/dns, which has no port 54/udp, only 53/tcp, 53/udp
        outcome  not changed by the proxy

        plan
          nat PREROUTING 1        to KUBE-SERVICES           kubernetes service portals
          filter FORWARD 1        to KUBE-PROXY-FIREWALL     kubernetes load balancer firewall
          filter FORWARD 2        to KUBE-FORWARD            kubernetes forwarding rules
          filter FORWARD 3        to KUBE-SERVICES           kubernetes service portals
          filter FORWARD 4        to KUBE-EXTERNAL-SERVICES  kubernetes externally-visible service portals
          nat POSTROUTING 1       to KUBE-POSTROUTING        kubernetes postrouting rules
          nat KUBE-POSTROUTING 1  back                       -m mark ! --mark 0x4000/0x4000

        kernel: as planned
    "#]],
    );
}

#[test]
fn packet_of_version_6_is_followed() {
    packet(
        "2001:db8:9::2",
        "[fd00:96::20]:80/tcp",
        &[],
        &expect![[r#"
        packet   2001:db8:9::2 > [fd00:96::20]:80/tcp, from this node
        service  shop/web:http, cluster IP, policy Cluster, 1 endpoint known, a client keeps its endpoint for 600 s
        outcome  goes to [fd00:1::5]:8080, masqueraded

        plan
          nat OUTPUT 1                     to KUBE-SERVICES              kubernetes service portals
          nat KUBE-SERVICES 1              to KUBE-SVC-67NZLRHBNDSAWJRO  shop/web:http cluster IP
          nat KUBE-SVC-67NZLRHBNDSAWJRO 1  to KUBE-MARK-MASQ             shop/web:http cluster IP
          nat KUBE-MARK-MASQ 1             mark becomes 0x4000
          nat KUBE-SVC-67NZLRHBNDSAWJRO 3  to KUBE-SEP-PKCKJTBTVV2QNIXP  shop/web:http -> [fd00:1::5]:8080
          nat KUBE-SEP-PKCKJTBTVV2QNIXP 2  DNAT to [fd00:1::5]:8080      shop/web:http
          filter OUTPUT 1                  to KUBE-FIREWALL
          filter OUTPUT 2                  to KUBE-PROXY-FIREWALL        kubernetes load balancer firewall
          filter OUTPUT 3                  to KUBE-SERVICES              kubernetes service portals
          nat POSTROUTING 1                to KUBE-POSTROUTING           kubernetes postrouting rules
          nat KUBE-POSTROUTING 2           mark becomes 0x0
          nat KUBE-POSTROUTING 3           masqueraded                   kubernetes service traffic requiring SNAT

        kernel: as planned
    "#]],
    );
}

#[test]
fn missing_live_rule_and_rules_of_others_are_told() {
    packet(
        "10.1.0.9",
        "10.96.0.10:53/udp",
        &[
            (
                "-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment \"kube-system/dns:dns cluster IP\" -m udp --dport 53 -j KUBE-SVC-",
                "#",
            ),
            (":FORWARD ACCEPT", ":FORWARD DROP"),
            (
                "-A FORWARD -m comment",
                "-A FORWARD -m set --match-set banned src -j DROP\n-A FORWARD -m comment",
            ),
        ],
        &expect![[r#"
            packet   10.1.0.9 > 10.96.0.10:53/udp, from a pod
            service  kube-system/dns:dns, cluster IP, policy Cluster, 3 endpoints known
            outcome  goes to one of 2 endpoints, source kept

            plan
              nat PREROUTING 1     to KUBE-SERVICES              kubernetes service portals
              nat KUBE-SERVICES 1  to KUBE-SVC-2KKYJRIGYGQNRODB  kube-system/dns:dns cluster IP
              50 %                 DNAT to 10.1.0.2:53           by KUBE-SVC-2KKYJRIGYGQNRODB, KUBE-SEP-M2XE2RBTK26C5ZL3
              50 %                 DNAT to 10.1.1.2:53           by KUBE-SVC-2KKYJRIGYGQNRODB, KUBE-SEP-RNG5VARRACQJFFR2

            kernel: not as planned; a rule of others is on the way, its effect is unknown
              outcome: not changed by the proxy
              nat PREROUTING 1        to KUBE-SERVICES                            kubernetes service portals
              filter FORWARD 1        to KUBE-PROXY-FIREWALL                      kubernetes load balancer firewall
              filter FORWARD 2        unknown                                     not ours: -m set --match-set banned src -j DROP
              filter FORWARD 3        to KUBE-FORWARD                             kubernetes forwarding rules
              filter FORWARD 4        to KUBE-SERVICES                            kubernetes service portals
              filter FORWARD 5        to KUBE-EXTERNAL-SERVICES                   kubernetes externally-visible service portals
              filter FORWARD 6        dropped unless a rule of others accepts it  not ours: policy DROP
              nat POSTROUTING 1       to KUBE-POSTROUTING                         kubernetes postrouting rules
              nat KUBE-POSTROUTING 1  back                                        -m mark ! --mark 0x4000/0x4000
              differs from the plan (- live, + planned):
              nat KUBE-SERVICES differs
              + -A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/dns:dns cluster IP" -m udp --dport 53 -j KUBE-SVC-2KKYJRIGYGQNRODB
        "#]],
    );
}

#[test]
fn packet_without_live_rules_is_explained_by_the_plan() {
    let local_addresses = local_addresses();
    let question = Question {
        source: "10.1.0.9".parse().unwrap(),
        destination: "10.96.0.10:53".parse().unwrap(),
        protocol: Protocol::Udp,
        interface: None,
        local_addresses: &local_addresses,
    };
    let known = Connection {
        source: "10.1.0.9:4000".parse().unwrap(),
        destination: question.destination,
        answered_by: "10.1.1.2:53".parse().unwrap(),
    };
    let plan = plan(IpFamily::V4);
    let unread = Err("that needs root".to_owned());
    let report = explain_packet(&question, &plan, unread, Some(vec![known]));
    let text = packet_text(&report);
    let rest = text.split_once("\nkernel").unwrap().1;
    expect![[r#"
        : not read: that needs root

        conntrack: a connection, which keeps its endpoint whatever the rules say
          10.1.0.9:4000 > 10.96.0.10:53  answered by 10.1.1.2:53
    "#]]
    .assert_eq(rest);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["live"], serde_json::Value::Null);
    assert_eq!(json["plan"]["ways"][0]["verdict"], "endpoint");
    assert_eq!(json["service"]["way"], "clusterIp");
}

#[test]
fn service_with_everything_is_explained() {
    about(
        "shop/web",
        None,
        &[],
        &expect![[r#"
            shop/web  LoadBalancer

            port http 80/tcp, IPv4
              ways in    cluster IP        10.96.0.20:80                       policy Cluster
                         load balancer IP  203.0.113.50:80                     policy Local
                         node port         30080 on every address of the node  policy Local
              affinity   a client goes to the same endpoint for 600 s
              sources    only 198.51.100.0/24, on load balancer IPs
              health     answers load balancers on 31000/tcp
              endpoints  10.1.0.5:8080  Cluster 50 %  Local 100 %  ready  node-1 (this node)
                         10.1.1.7:8080  Cluster 50 %  Local -      ready  node-2
              left out   10.1.1.9:8080  not ready  node-2
              traffic    from a pod           to cluster IP 10.96.0.20:80          2 endpoints
                                              to load balancer IP 203.0.113.50:80  dropped
                                              to node port 192.168.0.2:30080       2 endpoints
                         from this node       to cluster IP 10.96.0.20:80          2 endpoints, masqueraded
                                              to load balancer IP 203.0.113.50:80  dropped
                                              to node port 192.168.0.2:30080       2 endpoints, masqueraded
                         from outside         to cluster IP 10.96.0.20:80          2 endpoints, masqueraded
                                              to load balancer IP 203.0.113.50:80  dropped
                                              to node port 192.168.0.2:30080       1 endpoint
                         from a source range  to cluster IP 10.96.0.20:80          2 endpoints, masqueraded
                                              to load balancer IP 203.0.113.50:80  1 endpoint
                                              to node port 192.168.0.2:30080       1 endpoint

            port http 80/tcp, IPv6
              ways in    cluster IP  [fd00:96::20]:80                    policy Cluster
                         node port   30080 on every address of the node  policy Local
              affinity   a client goes to the same endpoint for 600 s
              health     answers load balancers on 31000/tcp
              endpoints  [fd00:1::5]:8080  Cluster 100 %  Local 100 %  ready  node-1 (this node)
              traffic    from a pod      to cluster IP [fd00:96::20]:80      1 endpoint
                                         to node port [2001:db8:9::2]:30080  1 endpoint
                         from this node  to cluster IP [fd00:96::20]:80      1 endpoint, masqueraded
                                         to node port [2001:db8:9::2]:30080  1 endpoint, masqueraded
                         from outside    to cluster IP [fd00:96::20]:80      1 endpoint, masqueraded
                                         to node port [2001:db8:9::2]:30080  1 endpoint

            kernel IPv4: as planned
            kernel IPv6: as planned
        "#]],
    );
}

#[test]
fn endpoints_left_out_by_hints_say_so() {
    about(
        "kube-system/dns",
        Some("10.1.0.2"),
        &[],
        &expect![[r#"
        kube-system/dns  ClusterIP

        port dns 53/udp, IPv4
          ways in    cluster IP  10.96.0.10:53  policy Cluster
          endpoints  10.1.0.2:53  50 %  ready  node-1 (this node)
                     10.1.1.2:53  50 %  ready  node-2
          left out   10.1.2.2:53  its hints name zone b, and this node is in zone a  node-2
          traffic    from 10.1.0.2  to cluster IP 10.96.0.10:53  2 endpoints, masqueraded to itself

        port dns-tcp 53/tcp, IPv4
          ways in    cluster IP  10.96.0.10:53  policy Cluster
          endpoints  10.1.0.2:53  50 %  ready  node-1 (this node)
                     10.1.1.2:53  50 %  ready  node-2
          left out   10.1.2.2:53  its hints name zone b, and this node is in zone a  node-2
          traffic    from 10.1.0.2  to cluster IP 10.96.0.10:53  2 endpoints, masqueraded to itself

        kernel IPv4: as planned
    "#]],
    );
}

#[test]
fn service_that_is_not_proxied_says_why() {
    about(
        "shop/alias",
        None,
        &[],
        &expect![[r#"
        shop/alias  ExternalName
        not proxied: an ExternalName service is a name in DNS and has no rules
    "#]],
    );
}

#[test]
fn missing_live_rule_of_a_service_is_told() {
    about(
        "shop/waiting",
        Some("192.0.2.7"),
        &[("-A KUBE-SERVICES -d 10.96.0.31/32", "# ")],
        &expect![[r#"
            shop/waiting  ClusterIP

            port 80/tcp, IPv4
              ways in    cluster IP  10.96.0.31:80  policy Cluster
              endpoints  none
              left out   10.1.1.3:80  not ready, though it still answers  node-2
              traffic    from 192.0.2.7  to cluster IP 10.96.0.31:80  rejected

            kernel IPv4: differs from the plan (- live, + planned)
              filter KUBE-SERVICES differs
              + -A KUBE-SERVICES -d 10.96.0.31/32 -p tcp -m comment --comment "shop/waiting has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
        "#]],
    );
}

#[test]
fn difference_is_told_in_both_directions() {
    let plan = plan(IpFamily::V4);
    let live = live(
        &plan,
        &[
            ("-A KUBE-SERVICES -d 10.96.0.31/32", "# "),
            ("-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000", "-A KUBE-MARK-MASQ -j RETURN"),
            ("-A PREROUTING", "#"),
            (":KUBE-MARK-MASQ - [0:0]", ":KUBE-MARK-MASQ - [0:0]\n:KUBE-SVC-STALE - [0:0]"),
        ],
    );
    let report = DiffReport::new([(&plan, &live)]);
    assert!(!report.equal);
    expect![[r#"
        IPv4: 2 chains to rewrite, 1 chain to delete, 1 jump to add
        filter KUBE-SERVICES differs
        + -A KUBE-SERVICES -d 10.96.0.31/32 -p tcp -m comment --comment "shop/waiting has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
        nat KUBE-MARK-MASQ differs
        - -A KUBE-MARK-MASQ -j RETURN
        + -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
        nat KUBE-SVC-STALE is stale
        nat PREROUTING lacks a jump
        + -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
    "#]].assert_eq(&diff_text(&report));
    let same = DiffReport::new([(&plan, &self::live(&plan, &[]))]);
    assert_eq!((same.equal, diff_text(&same)), (true, String::new()));
}

#[test]
fn rules_of_one_service_are_spelled_as_iptables_save_does() {
    let plans = [plan(IpFamily::V4), plan(IpFamily::V6)];
    let key = ObjectKey::new("shop", "waiting");
    expect![[r##"
        # IPv4
        *filter
        -A KUBE-SERVICES -d 10.96.0.31/32 -p tcp -m comment --comment "shop/waiting has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
        COMMIT
    "##]].assert_eq(&planned_rules(&plans, Some(&key)).text());
    let all = planned_rules(&plans, None);
    let expected = format!("# IPv4\n{}", saved(&plans[0]));
    assert!(all.text().starts_with(&expected));
    assert_eq!(all.families.len(), 2);
}

/// The live table when the plan is in place.
fn live_table(plan: &FamilyPlan) -> LiveState {
    let PlannedTable::Nftables { state, .. } = &plan.table else { panic!("iptables") };
    LiveState::Nftables(LiveTable::Ours(state.clone()))
}

#[test]
fn packet_is_followed_through_the_nftables_table() {
    let plan = plan_for(IpFamily::V4, BackendKind::Nftables);
    let local_addresses = local_addresses();
    let mut live = live_table(&plan);
    let ask = |destination: &str, live: &LiveState| {
        let question = Question {
            source: "10.1.0.9".parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: Protocol::Tcp,
            interface: None,
            local_addresses: &local_addresses,
        };
        packet_text(&explain_packet(&question, &plan, Ok(live), None))
    };
    expect![[r#"
        packet   10.1.0.9 > 10.96.0.10:53/tcp, from a pod
        service  kube-system/dns:dns-tcp, cluster IP, policy Cluster, 3 endpoints known
        outcome  goes to one of 2 endpoints, source kept

        plan
          ip kube-proxy filter-prerouting-pre-dnat 1  to firewall-check    ct state new jump firewall-check
          ip kube-proxy nat-prerouting 1              to services          jump services
          ip kube-proxy services 1                    to cluster-ip-tcp-2  kube-system/dns:dns-tcp
          50 %                                        DNAT to 10.1.0.2:53  by cluster-ip-tcp-2
          50 %                                        DNAT to 10.1.1.2:53  by cluster-ip-tcp-2

        kernel: as planned
    "#]].assert_eq(&ask("10.96.0.10:53", &live));
    expect![[r#"
        packet   10.1.0.9 > 10.96.0.30:80/tcp, from a pod
        service  shop/empty, cluster IP, policy Cluster, 0 endpoints known
        outcome  rejected by rule 1 of ip kube-proxy reject-chain: shop/empty

        plan
          ip kube-proxy filter-prerouting-pre-dnat 1  to firewall-check           ct state new jump firewall-check
          ip kube-proxy nat-prerouting 1              to services                 jump services
          ip kube-proxy filter-forward 1              to service-endpoints-check  ct state new jump service-endpoints-check
          ip kube-proxy service-endpoints-check 1     to reject-chain             shop/empty
          ip kube-proxy reject-chain 1                rejected                    reject

        kernel: as planned
    "#]].assert_eq(&ask("10.96.0.30:80", &live));
    let LiveState::Nftables(LiveTable::Ours(state)) = &mut live else { panic!() };
    state.sets.remove(&SetName::ServiceIps);
    expect![[r#"
        packet   10.1.0.9 > 10.96.0.10:53/tcp, from a pod
        service  kube-system/dns:dns-tcp, cluster IP, policy Cluster, 3 endpoints known
        outcome  goes to one of 2 endpoints, source kept

        plan
          ip kube-proxy filter-prerouting-pre-dnat 1  to firewall-check    ct state new jump firewall-check
          ip kube-proxy nat-prerouting 1              to services          jump services
          ip kube-proxy services 1                    to cluster-ip-tcp-2  kube-system/dns:dns-tcp
          50 %                                        DNAT to 10.1.0.2:53  by cluster-ip-tcp-2
          50 %                                        DNAT to 10.1.1.2:53  by cluster-ip-tcp-2

        kernel: not as planned
          outcome: rejected by rule 1 of ip kube-proxy cluster-ips-check: Reject traffic to invalid ports of ClusterIPs
          ip kube-proxy filter-prerouting-pre-dnat 1  to firewall-check           ct state new jump firewall-check
          ip kube-proxy nat-prerouting 1              to services                 jump services
          ip kube-proxy filter-forward 1              to service-endpoints-check  ct state new jump service-endpoints-check
          ip kube-proxy filter-forward 2              to cluster-ips-check        ct state new jump cluster-ips-check
          ip kube-proxy cluster-ips-check 1           rejected                    Reject traffic to invalid ports of ClusterIPs
          differs from the plan (- live, + planned):
          ip kube-proxy service-ips differs
          + 10.96.0.10 . tcp . 53 comment "kube-system/dns:dns-tcp" : goto cluster-ip-tcp-2
          + 10.96.0.10 . udp . 53 comment "kube-system/dns:dns" : goto cluster-ip-udp-2
    "#]].assert_eq(&ask("10.96.0.10:53", &live));
    let missing = LiveState::Nftables(LiveTable::Missing);
    expect![[r#"
        IPv4: 1 chain to create
        ip kube-proxy table is missing
    "#]]
    .assert_eq(&diff_text(&DiffReport::new([(&plan, &missing)])));
    assert!(DiffReport::new([(&plan, &live_table(&plan))]).equal);
}

#[test]
fn elements_of_one_service_are_spelled_as_nft_does() {
    let plans = [plan_for(IpFamily::V4, BackendKind::Nftables)];
    let key = ObjectKey::new("shop", "waiting");
    expect![[r##"
        # IPv4
        add element ip kube-proxy cluster-ips { 10.96.0.31 }
        add element ip kube-proxy no-endpoint-services { 10.96.0.31 . tcp . 80 comment "shop/waiting" : goto reject-chain }
    "##]].assert_eq(&planned_rules(&plans, Some(&key)).text());
    assert!(planned_rules(&plans, None).text().contains("add chain ip kube-proxy services"));
}

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Isolation, Planned, service_of_line, with_live};
use crate::config::{IpFamily, LocalTraffic, ProxyConfig};
use crate::input::{ObjectKey, Protocol, ServiceChange};
use crate::iptables::Applier;
use crate::model::changes::ServiceMap;
use crate::model::port_facts::PortFacts;
use crate::model::service_port::service_ports;
use crate::model::slices::endpoints;
use crate::rules::context::MachineFacts;
use crate::rules::{RuleContext, base, plan_service_port};
use crate::testing::build::LOCAL_NODE;
use crate::testing::{FakeIptables, Fault, node, service, slice};

struct Setup {
    iptables: Arc<FakeIptables>,
    applier: Applier,
    isolation: Isolation,
    context: RuleContext,
}

fn setup() -> Setup {
    let iptables = FakeIptables::new(IpFamily::V4);
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.local_traffic = LocalTraffic::ClusterCidrs(vec!["10.0.0.0/8".parse().unwrap()]);
    let machine =
        MachineFacts { local_addresses: &[], random_fully: true, liberal_conntrack: false };
    let context = RuleContext::new(&config, IpFamily::V4, &node(&["192.168.0.2"]), machine);
    let applier = Applier::new(iptables.clone(), IpFamily::V4);
    Setup { iptables, applier, isolation: Isolation::default(), context }
}

/// Services `a/s0` and so on, each with an endpoint of that last number.
fn planned(context: &RuleContext, endpoints: &[u8]) -> Planned {
    let mut map = ServiceMap::default();
    for (number, endpoint) in endpoints.iter().enumerate() {
        let name = format!("a/s{number}");
        let address = format!("172.30.0.{number}");
        let applied: [ServiceChange; 2] = [
            service(&name).cluster_ip(&address).port("", Protocol::Tcp, 80).applied(),
            slice(&name)
                .port("", Protocol::Tcp, 8080)
                .endpoint(&format!("10.0.0.{endpoint}"))
                .applied(),
        ];
        for change in applied {
            map.apply(change);
        }
    }
    plan_all(&map, context)
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("a", name)
}

impl Setup {
    async fn sync(&mut self, planned: &Planned) -> Vec<String> {
        self.isolation.sync(&mut self.applier, &self.context, planned).await.unwrap();
        self.isolation.refused().keys().map(ToString::to_string).collect()
    }

    fn has(&self, words: &str) -> bool {
        self.iptables.saved().contains(words)
    }
}

#[tokio::test]
async fn refused_service_keeps_its_rules_and_the_others_go_on() {
    for fault in [Fault::Refuse, Fault::RefuseAtCommit] {
        let mut setup = setup();
        let first = planned(&setup.context, &[1, 2, 3, 4, 5]);
        assert!(setup.sync(&first).await.is_empty());
        setup.iptables.set_fault(Some(fault("10.0.0.13:".to_owned())));
        let second = planned(&setup.context, &[11, 12, 13, 14, 15]);
        assert_eq!(setup.sync(&second).await, ["a/s2"]);
        for there in ["10.0.0.11:", "10.0.0.12:", "10.0.0.3:", "10.0.0.14:", "10.0.0.15:"] {
            assert!(setup.has(there), "{there}");
        }
        assert!(!setup.has("10.0.0.13:"));
        setup.iptables.take_calls();
        assert_eq!(setup.sync(&second).await, ["a/s2"]);
        assert!(setup.iptables.take_writes().is_empty(), "nothing is tried again without a reason");
    }
}

#[tokio::test]
async fn refused_service_is_tried_again_when_it_changes_and_when_live_rules_are_read() {
    let mut setup = setup();
    setup.iptables.set_fault(Some(Fault::Refuse("10.0.0.2:".to_owned())));
    let first = planned(&setup.context, &[1, 2]);
    assert_eq!(setup.sync(&first).await, ["a/s1"]);
    let changed = planned(&setup.context, &[1, 3]);
    assert!(setup.sync(&changed).await.is_empty());
    assert!(setup.has("10.0.0.3:"));

    assert_eq!(setup.sync(&first).await, ["a/s1"]);
    setup.iptables.set_fault(None);
    assert_eq!(setup.sync(&first).await, ["a/s1"]);
    setup.applier.forget();
    assert!(setup.sync(&first).await.is_empty());
    assert!(setup.has("10.0.0.2:"));
}

#[tokio::test]
async fn start_over_rules_of_a_service_that_is_refused_now_leaves_them() {
    let mut setup = setup();
    let planned = planned(&setup.context, &[1, 2, 3]);
    setup.sync(&planned).await;
    let mut changed = self::planned(&setup.context, &[11, 12, 13]);
    changed.remove(&key("s0"));
    setup.applier = Applier::new(setup.iptables.clone(), IpFamily::V4);
    setup.iptables.set_fault(Some(Fault::RefuseAtCommit("10.0.0.13:".to_owned())));
    assert_eq!(setup.sync(&changed).await, ["a/s2"]);
    assert!(setup.has("10.0.0.12:") && setup.has("10.0.0.3:"));
    assert!(!setup.has("a/s0"), "a service that is gone is not kept");
}

#[tokio::test]
async fn no_service_is_blamed_for_refusals_that_come_and_go() {
    for nth in 2..6 {
        let mut setup = setup();
        setup.iptables.set_fault(Some(Fault::Every(nth)));
        for endpoints in [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]] {
            let planned = planned(&setup.context, &endpoints);
            assert!(setup.sync(&planned).await.is_empty(), "every {nth}th restore fails");
            assert!(setup.has(&format!("10.0.0.{}:", endpoints[3])));
        }
    }
}

#[tokio::test]
async fn refusal_that_is_about_no_service_is_an_error() {
    let mut setup = setup();
    setup.iptables.set_fault(Some(Fault::RefuseAtCommit("KUBE-MARK-MASQ".to_owned())));
    let planned = planned(&setup.context, &[1, 2]);
    let synced = setup.isolation.sync(&mut setup.applier, &setup.context, &planned).await;
    assert!(synced.is_err());
    assert!(setup.isolation.refused().is_empty());
}

#[test]
fn line_names_its_service_by_chain_or_remark() {
    let setup = setup();
    let planned = planned(&setup.context, &[1, 2]);
    let chain = planned[&key("s1")][0].own[0].0.clone();
    let cases = [
        (format!(":{chain} - [0:0]"), Some(key("s1"))),
        (format!("-A {chain} -j RETURN"), Some(key("s1"))),
        (
            "-I KUBE-SERVICES 3 -m comment --comment \"a/s0 cluster IP\" -j X".to_owned(),
            Some(key("s0")),
        ),
        ("-A KUBE-SERVICES -m comment --comment \"a/gone:web cluster IP\"".to_owned(), None),
        ("-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\"".to_owned(), None),
        ("COMMIT".to_owned(), None),
        ("-A".to_owned(), None),
    ];
    for (line, expected) in cases {
        assert_eq!(service_of_line(&line, &planned), expected, "{line}");
    }
}

#[test]
fn kept_rules_stand_where_they_would_anyway() {
    let setup = setup();
    let mut planned = planned(&setup.context, &[1, 2, 3]);
    let live = base::assemble(&setup.context, planned.values().flatten());
    planned.remove(&key("s1"));
    let wanted = base::assemble(&setup.context, planned.values().flatten());
    let kept = BTreeSet::from([key("s1")]);
    assert_eq!(*with_live(&live, &wanted, &kept), live);
    assert_eq!(*with_live(&live, &wanted, &BTreeSet::new()), wanted);
}

fn plan_all(map: &ServiceMap, context: &RuleContext) -> Planned {
    let mut planned = Planned::new();
    for (key, service) in map.services() {
        let ports = service_ports(service, IpFamily::V4).into_iter().map(|port| {
            let found = endpoints(map.slices_of(key), &port.name, IpFamily::V4, LOCAL_NODE);
            plan_service_port(&PortFacts::new(port, found, &context.topology), context)
        });
        planned.insert(key.clone(), ports.collect());
    }
    planned
}

//! Properties that hold for the rules of any services.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proptest::prelude::*;

use crate::config::{IpFamily, LocalTraffic, ProxyConfig};
use crate::input::{ServiceChange, TrafficPolicy};
use crate::iptables::cleanup::cleanup;
use crate::iptables::parse::parse_saved;
use crate::iptables::render::saved_text;
use crate::iptables::{Applier, Iptables};
use crate::model::changes::ServiceMap;
use crate::model::endpoint::EndpointState;
use crate::model::service_port::service_ports;
use crate::model::slices::endpoints;
use crate::nfacct::AccountingObjects;
use crate::rules::context::MachineFacts;
use crate::rules::{ProxyView, RuleContext, RuleSet, diff, plan};
use crate::testing::build::LOCAL_NODE;
use crate::testing::random::any_changes;
use crate::testing::{FakeIptables, Packet, Verdict, live_tables, node};

const NODE: &str = "192.168.0.2";

fn view(changes: &[ServiceChange], family: IpFamily) -> ProxyView {
    let mut map = ServiceMap::default();
    for change in changes {
        map.apply(change.clone());
    }
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.local_traffic = LocalTraffic::ClusterCidrs(vec![
        "10.0.0.0/8".parse().unwrap(),
        "fd00:10::/64".parse().unwrap(),
    ]);
    let machine =
        MachineFacts { local_addresses: &[], random_fully: true, liberal_conntrack: false };
    let context = RuleContext::new(&config, family, &node(&[NODE, "2001:db8::1"]), machine)
        .with_counters(AccountingObjects::ALL);
    let mut services = Vec::new();
    for (key, service) in map.services() {
        for port in service_ports(service, family) {
            let found = endpoints(map.slices_of(key), &port.name, family, LOCAL_NODE);
            services.push((port, found));
        }
    }
    ProxyView { context, services }
}

fn rules(changes: &[ServiceChange], family: IpFamily) -> RuleSet {
    plan(&view(changes, family))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn difference_to_itself_is_empty_and_leads_from_any_set_to_any_other(
        from in any_changes(), to in any_changes(),
    ) {
        for family in [IpFamily::V4, IpFamily::V6] {
            let (from, to) = (rules(&from, family), rules(&to, family));
            prop_assert!(diff(&to, &to).is_empty());
            prop_assert_eq!(diff(&from, &to).applied_to(&from), to);
        }
    }

    #[test]
    fn text_reads_back_as_the_rules_it_came_from(changes in any_changes()) {
        for family in [IpFamily::V4, IpFamily::V6] {
            let rules = rules(&changes, family);
            let read = parse_saved(&saved_text(&rules, family), family).compared_with(&rules);
            prop_assert_eq!(read, rules);
        }
    }

    #[test]
    fn order_and_repetition_of_changes_do_not_matter(changes in any_changes(), seed in any::<u64>()) {
        // The last change of each object decides; only those are mixed.
        let mut last: Vec<ServiceChange> = Vec::new();
        for change in changes {
            let object = name(&change);
            last.retain(|known| name(known) != object);
            last.push(change);
        }
        let expected = rules(&last, IpFamily::V4);
        let mut mixed = last.clone();
        let mut state = seed;
        for position in (1..mixed.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            mixed.swap(position, usize::try_from(state >> 33).unwrap() % (position + 1));
        }
        let twice: Vec<ServiceChange> =
            mixed.iter().flat_map(|change| [change.clone(), change.clone()]).collect();
        prop_assert_eq!(rules(&twice, IpFamily::V4), expected);
    }

    #[test]
    fn packet_to_a_service_with_ready_endpoints_reaches_one_of_its_own(changes in any_changes()) {
        let view = view(&changes, IpFamily::V4);
        let tables = live_tables(&plan(&view));
        for (port, endpoints) in &view.services {
            let usable: BTreeSet<SocketAddr> = endpoints
                .iter()
                .filter(|e| matches!(e.state, EndpointState::Ready | EndpointState::Draining))
                .filter(|e| port.internal_policy == TrafficPolicy::Cluster || e.is_local)
                .map(|e| SocketAddr::new(e.address, e.port))
                .collect();
            let packet = Packet {
                source: "10.0.7.7".parse().unwrap(),
                destination: port.cluster_ip,
                port: port.port,
                protocol: port.name.protocol,
                interface: Some(Arc::from("eth0")),
                local_addresses: vec![NODE.parse::<IpAddr>().unwrap()],
                known_in: Vec::new(),
            };
            for fate in packet.fates(&tables) {
                match fate.verdict {
                    Verdict::Endpoint(endpoint) => prop_assert!(usable.contains(&endpoint)),
                    Verdict::Rejected | Verdict::Dropped => prop_assert!(usable.is_empty()),
                    Verdict::Unchanged => prop_assert!(false, "{} leads nowhere", port.name),
                }
            }
        }
    }

    #[test]
    fn any_step_can_be_applied_and_everything_cleaned_up(
        first in any_changes(), second in any_changes(),
    ) {
        block_on(async {
            for family in [IpFamily::V4, IpFamily::V6] {
                let iptables = FakeIptables::new(family);
                let empty = iptables.saved();
                let mut applier = Applier::new(iptables.clone(), family);
                for changes in [&first, &second, &first] {
                    let wanted = rules(changes, family);
                    applier.sync(wanted.clone()).await.unwrap();
                    assert_eq!(iptables.live().compared_with(&wanted), wanted);
                }
                cleanup(&*iptables, family).await.unwrap();
                let left = iptables.save().await.unwrap();
                let left: Vec<&str> =
                    left.lines().filter(|line| !line.contains("KUBE-FIREWALL")).collect();
                let before: Vec<&str> =
                    empty.lines().filter(|line| !line.contains("KUBE-FIREWALL")).collect();
                assert_eq!(left, before);
            }
        });
    }
}

fn name(change: &ServiceChange) -> String {
    match change {
        ServiceChange::ServiceApplied(service) => format!("service {}", service.metadata.key()),
        ServiceChange::ServiceDeleted(key) => format!("service {key}"),
        ServiceChange::SliceApplied(slice) => format!("slice {}", slice.metadata.key()),
        ServiceChange::SliceDeleted(key) => format!("slice {key}"),
        other => format!("{other:?}"),
    }
}

mod agreement;
mod fates;

use proptest::prelude::*;

use super::*;
use crate::config::{IpFamily, LocalTraffic, NodePortAddresses, ProxyConfig};
use crate::input::{Protocol, ServiceChange};
use crate::model::changes::ServiceMap;
use crate::model::service_port::service_ports;
use crate::model::slices::endpoints;
use crate::nftables::diff;
use crate::nftables::rule::Statement;
use crate::nftables::state::Value;
use crate::rules::RuleContext;
use crate::rules::context::MachineFacts;
use crate::testing::build::LOCAL_NODE;
use crate::testing::random::any_changes;
use crate::testing::{ServiceBuilder, SliceBuilder, node, service, slice};

const NODE: &str = "192.168.0.2";
const NODE_V6: &str = "2001:db8::1";

fn config() -> ProxyConfig {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.localhost_node_ports = false;
    config.local_traffic = LocalTraffic::ClusterCidrs(vec![
        "10.0.0.0/8".parse().unwrap(),
        "fd00:10::/64".parse().unwrap(),
    ]);
    config
}

fn rule_context(config: &ProxyConfig, family: IpFamily) -> RuleContext {
    let machine =
        MachineFacts { local_addresses: &[], random_fully: true, liberal_conntrack: false };
    RuleContext::new(config, family, &node(&[NODE, NODE_V6]), machine)
}

fn context(family: IpFamily) -> TableContext {
    TableContext::new(&rule_context(&config(), family))
}

fn map_of(changes: &[ServiceChange]) -> ServiceMap {
    let mut map = ServiceMap::default();
    for change in changes {
        map.apply(change.clone());
    }
    map
}

fn facts(map: &ServiceMap, context: &RuleContext) -> Vec<(ObjectKey, Vec<PortFacts>)> {
    let family = context.family;
    map.services()
        .map(|(key, service)| {
            let ports = service_ports(service, family)
                .into_iter()
                .map(|port| {
                    let found = endpoints(map.slices_of(key), &port.name, family, LOCAL_NODE);
                    PortFacts::new(port, found, &context.topology)
                })
                .collect();
            (key.clone(), ports)
        })
        .collect()
}

fn table(changes: &[ServiceChange], family: IpFamily) -> NftState {
    let rules = rule_context(&config(), family);
    let facts = facts(&map_of(changes), &rules);
    assemble(context(family), facts.iter().map(|(key, ports)| (key, ports.as_slice())))
}

fn planned(objects: &[(ServiceBuilder, SliceBuilder)]) -> NftPlan {
    let mut plan = NftPlan::new(context(IpFamily::V4));
    plan.take_changes();
    for object in objects {
        replace(&mut plan, object.clone());
    }
    plan
}

fn replace(plan: &mut NftPlan, (service, slice): (ServiceBuilder, SliceBuilder)) {
    let changes = [service.applied(), slice.applied()];
    let rules = rule_context(&config(), IpFamily::V4);
    for (key, ports) in facts(&map_of(&changes), &rules) {
        plan.replace_service(&key, &ports);
    }
}

fn web(name: &str, address: &str) -> ServiceBuilder {
    service(name).cluster_ip(address).port("p80", Protocol::Tcp, 80)
}

fn backends(name: &str, count: u8) -> SliceBuilder {
    let slice = slice(name).port("p80", Protocol::Tcp, 80);
    (1..=count).fold(slice, |slice, host| slice.endpoint(&format!("10.180.0.{host}")))
}

/// Chains that elements and rules lead to.
fn led_to(state: &NftState) -> Vec<ChainName> {
    let entries = state.sets.values().flat_map(BTreeMap::values);
    let by_elements = entries.filter_map(|entry| match &entry.value {
        Value::Goto(chain) => Some(chain.clone()),
        _ => None,
    });
    let rules = state.chains.values().flat_map(|chain| &chain.rules);
    let by_rules =
        rules.flat_map(|rule| &rule.statements).filter_map(|statement| match statement {
            Statement::Jump(chain) | Statement::Goto(chain) => Some(chain.clone()),
            _ => None,
        });
    by_elements.chain(by_rules).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn difference_to_itself_is_empty_and_leads_from_any_table_to_any_other(
        from in any_changes(), to in any_changes(),
    ) {
        for family in [IpFamily::V4, IpFamily::V6] {
            let (from, to) = (table(&from, family), table(&to, family));
            prop_assert!(diff(&to, &to).is_empty());
            prop_assert_eq!(diff(&from, &to).applied_to(&from), to);
        }
    }

    #[test]
    fn changes_one_by_one_lead_to_the_same_table_as_all_at_once(changes in any_changes()) {
        for family in [IpFamily::V4, IpFamily::V6] {
            let rules = rule_context(&config(), family);
            let mut plan = NftPlan::new(context(family));
            prop_assert!(plan.take_changes().is_empty());
            let mut live = plan.state();
            for end in 0..=changes.len() {
                let now = facts(&map_of(&changes[..end]), &rules);
                let gone: Vec<ObjectKey> = plan.services.keys().cloned().collect();
                for key in gone {
                    if !now.iter().any(|(known, _)| *known == key) {
                        plan.replace_service(&key, &[]);
                    }
                }
                for (key, ports) in &now {
                    plan.replace_service(key, ports);
                }
                live = plan.take_changes().applied_to(&live);
                prop_assert_eq!(&live, &plan.state());
            }
            prop_assert_eq!(live, table(&changes, family));
        }
    }

    #[test]
    fn every_chain_that_something_leads_to_is_there(changes in any_changes()) {
        for family in [IpFamily::V4, IpFamily::V6] {
            let state = table(&changes, family);
            for chain in led_to(&state) {
                prop_assert!(state.chains.contains_key(&chain), "{}", chain);
            }
        }
    }
}

#[test]
fn number_of_chains_does_not_grow_with_that_of_services() {
    let many = |count: u8| {
        let objects: Vec<_> = (1..=count)
            .map(|n| {
                let name = format!("a/s{n}");
                (web(&name, &format!("172.30.0.{n}")), backends(&name, 2))
            })
            .collect();
        planned(&objects).state()
    };
    assert_eq!(many(1).chains, many(100).chains);
}

#[test]
fn change_of_one_endpoint_is_a_change_of_one_element() {
    let object = (web("a/b", "172.30.0.41"), backends("a/b", 2));
    let mut plan = planned(std::slice::from_ref(&object));
    plan.take_changes();
    replace(&mut plan, object.clone());
    assert!(plan.take_changes().is_empty());

    let other = slice("a/b").port("p80", Protocol::Tcp, 80);
    let other = other.endpoint("10.180.0.1").endpoint("10.180.0.9");
    replace(&mut plan, (object.0, other));
    let changes = plan.take_changes();
    assert_eq!((changes.elements.len(), changes.chains.len()), (1, 0), "{changes:?}");
}

#[test]
fn chains_go_with_the_last_service_that_needs_them() {
    let two = (web("a/b", "172.30.0.41"), backends("a/b", 2));
    let three = (web("a/b", "172.30.0.41"), backends("a/b", 3));
    let mut plan = planned(&[two]);
    plan.take_changes();
    replace(&mut plan, three);
    let changes = plan.take_changes();
    assert_eq!(changes.chains.keys().map(|c| &**c).collect::<Vec<_>>(), ["cluster-ip-tcp-3"]);
    assert_eq!(changes.gone_chains.iter().map(|c| &**c).collect::<Vec<_>>(), ["cluster-ip-tcp-2"]);
}

#[test]
fn first_by_name_has_what_two_services_want() {
    let first = (web("a/a", "172.30.0.41").node_port(3001), backends("a/a", 1));
    let second = (web("a/b", "172.30.0.42").node_port(3001), backends("a/b", 2));
    let alone = planned(std::slice::from_ref(&first)).state();
    let key = Key::NodePort(Protocol::Tcp, 3001);
    let wanted = alone.entry(SetName::ServiceNodePorts, &key).cloned().unwrap();

    let mut plan = planned(&[second.clone(), first.clone()]);
    assert_eq!(plan.state(), planned(&[first, second]).state());
    assert_eq!(plan.state().entry(SetName::ServiceNodePorts, &key), Some(&wanted));
    let overlaps = plan.overlaps();
    assert_eq!(overlaps.len(), 1);
    assert_eq!(overlaps[0].first.to_string(), "a/a:p80");
    assert_eq!(overlaps[0].second.to_string(), "a/b:p80");
    assert_eq!(overlaps[0].claim.to_string(), "node port 3001/tcp");

    plan.replace_service(&ObjectKey::new("a", "a"), &[]);
    assert!(plan.overlaps().is_empty());
    let left = plan.state();
    let left = left.entry(SetName::ServiceNodePorts, &key).unwrap();
    assert_eq!(left.comment.as_deref(), Some("a/b:p80"));
}

#[test]
fn service_with_endpoints_has_what_one_without_wants() {
    let empty = |name| slice(name).port("p80", Protocol::Tcp, 80);
    let first = (web("a/a", "172.30.0.41").external_ip("1.2.3.4"), empty("a/a"));
    let second = (web("a/b", "172.30.0.42").external_ip("1.2.3.4"), backends("a/b", 1));
    let overlaps = planned(&[first.clone(), second]).overlaps();
    assert_eq!(overlaps.len(), 1, "{overlaps:?}");
    assert_eq!(overlaps[0].first.to_string(), "a/b:p80");
    assert_eq!(overlaps[0].claim.to_string(), "1.2.3.4:80/tcp");
    // One way may refuse outsiders and lead clients of the cluster somewhere.
    let local = (web("a/a", "172.30.0.41").node_port(3001).external_local(), backends("a/a", 1));
    assert!(planned(&[first, local]).overlaps().is_empty());
}

#[test]
fn ports_of_one_service_share_its_address_without_overlap() {
    let two = web("a/b", "172.30.0.41").port("dns", Protocol::Udp, 53);
    let plan = planned(&[(two, backends("a/b", 2))]);
    assert!(plan.overlaps().is_empty());
    assert_eq!(plan.state().sets[&SetName::ClusterIps].len(), 1);
}

#[test]
fn node_ports_answer_on_the_primary_address_but_never_on_loopback() {
    let mut config = config();
    config.localhost_node_ports = true;
    config.node_port_addresses = NodePortAddresses::Primary;
    let state = NftPlan::new(TableContext::new(&rule_context(&config, IpFamily::V4))).state();
    let addresses: Vec<Key> = state.sets[&SetName::NodePortIps].keys().copied().collect();
    assert_eq!(addresses, [Key::Address(NODE.parse().unwrap())]);

    let local: Vec<_> = ["127.0.0.1", NODE].map(|address| address.parse().unwrap()).into();
    config.node_port_addresses = NodePortAddresses::Within(vec![
        "127.0.0.0/8".parse().unwrap(),
        "192.168.0.0/16".parse().unwrap(),
    ]);
    let machine =
        MachineFacts { local_addresses: &local, random_fully: true, liberal_conntrack: false };
    let rules = RuleContext::new(&config, IpFamily::V4, &node(&[NODE]), machine);
    let state = NftPlan::new(TableContext::new(&rules)).state();
    assert_eq!(state.sets[&SetName::NodePortIps].len(), 1);
}

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::rule::{Rule, Statement};
use super::super::state::{ChainKind, Class, Front, Hook, HookPoint};
use super::*;
use crate::input::Protocol;

fn key(port: u16) -> Key {
    let address = "172.30.0.41".parse().unwrap();
    Key::Front(Front { address, protocol: Protocol::Tcp, port })
}

fn goto(chain: &str) -> Entry {
    Entry { value: Value::Goto(chain.into()), comment: Some("a/b:p80".into()) }
}

#[test]
fn elements_go_before_they_come_and_chains_come_before_elements() {
    let drop = Rule::new([Statement::Drop]).comment("why");
    let changes = NftDiff {
        chains: BTreeMap::from([("new".into(), Chain { hook: None, rules: vec![drop] })]),
        gone_chains: BTreeSet::from([Arc::from("old")]),
        elements: BTreeMap::from([
            ((SetName::ServiceIps, key(1)), ElementChange::Removed),
            ((SetName::ServiceIps, key(2)), ElementChange::Replaced(goto("new"))),
            ((SetName::ServiceIps, key(3)), ElementChange::Added(goto("new"))),
        ]),
    };
    let batch = render_diff(&changes, IpFamily::V4);
    let expected = "\
delete element ip kube-proxy service-ips { 172.30.0.41 . tcp . 1, 172.30.0.41 . tcp . 2 }
add chain ip kube-proxy new
flush chain ip kube-proxy new
flush chain ip kube-proxy old
add rule ip kube-proxy new drop comment \"why\"
add element ip kube-proxy service-ips { 172.30.0.41 . tcp . 2 comment \"a/b:p80\" : goto new, \
172.30.0.41 . tcp . 3 comment \"a/b:p80\" : goto new }
";
    assert_eq!(batch.text, expected);
    assert_eq!(
        render_stale_chains(&batch.stale_chains, IpFamily::V6),
        "delete chain ip6 kube-proxy old\n"
    );
}

#[test]
fn nothing_to_change_is_no_transaction() {
    assert_eq!(render_diff(&NftDiff::default(), IpFamily::V4), Batch::default());
}

#[test]
fn many_elements_are_several_statements() {
    let elements = (0..2500).map(|port| {
        let change = ElementChange::Added(goto("new"));
        ((SetName::ServiceIps, key(port)), change)
    });
    let changes = NftDiff { elements: elements.collect(), ..NftDiff::default() };
    let text = render_diff(&changes, IpFamily::V4).text;
    assert_eq!(text.lines().count(), 3);
    assert_eq!(text.matches("goto new").count(), 2500);
}

#[test]
fn full_table_replaces_what_has_its_name_and_leaves_remembered_clients_out() {
    let mut state = NftState::empty(IpFamily::V6);
    let hook = Hook { kind: ChainKind::Nat, point: HookPoint::Prerouting, priority: -100 };
    let jump = Rule::new([Statement::Jump("services".into())]);
    state.chains.insert("nat-prerouting".into(), Chain { hook: Some(hook), rules: vec![jump] });
    state.chains.insert("services".into(), Chain::default());
    let class = Class { service: 0x8001, endpoint: 0 };
    let remembered = Entry { value: Value::Class(class), comment: None };
    state.put(SetName::Affinity, Key::Class(class), Some(remembered));
    let text = render_full(&state);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "add table ip6 kube-proxy",
            "delete table ip6 kube-proxy",
            "add table ip6 kube-proxy { comment \"rules for kube-proxy\" ; }",
        ]
    );
    assert_eq!(
        lines[lines.len() - 3..],
        [
            "add chain ip6 kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }",
            "add chain ip6 kube-proxy services",
            "add rule ip6 kube-proxy nat-prerouting jump services",
        ]
    );
    assert_eq!(lines.len(), 3 + SetName::ALL.len() + 3);
}

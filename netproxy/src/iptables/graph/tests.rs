use super::{callees_first, groups, jump_target, reachable};
use crate::config::IpFamily;
use crate::iptables::parse::{parse_rule, parse_saved};
use crate::rules::ruleset::{Jump, RuleSet, Table};

fn nat(jumps: &[(&str, &str)]) -> RuleSet {
    let mut text = "*nat\n".to_owned();
    for (from, to) in jumps {
        text.push_str(&format!(":{from} - [0:0]\n:{to} - [0:0]\n-A {from} -j {to}\n"));
    }
    parse_saved(&text, IpFamily::V4).compared_with(&RuleSet::default())
}

#[test]
fn target_is_found_in_rules_of_others_too() {
    let cases = [
        ("-j KUBE-SVC-A", Some("KUBE-SVC-A")),
        ("-m set --match-set x src -g KUBE-SVC-A", Some("KUBE-SVC-A")),
        ("-m set --match-set x src", None),
        ("-j RETURN", None),
        ("-j", None),
    ];
    for (words, expected) in cases {
        assert_eq!(jump_target(&parse_rule(words, IpFamily::V4)), expected, "{words}");
    }
}

#[test]
fn chains_come_after_those_they_lead_to_even_in_a_circle() {
    let rules = nat(&[
        ("KUBE-SVC-A", "KUBE-SEP-Z"),
        ("KUBE-EXT-A", "KUBE-SVC-A"),
        ("KUBE-SVC-B", "KUBE-SVC-C"),
        ("KUBE-SVC-C", "KUBE-SVC-B"),
    ]);
    let ordered = callees_first(rules.chains.keys(), |key| rules.chains.get(key));
    assert_eq!(ordered.len(), rules.chains.len());
    let place = |name: &str| ordered.iter().position(|key| *key.name == *name);
    assert!(place("KUBE-SEP-Z") < place("KUBE-SVC-A"));
    assert!(place("KUBE-SVC-A") < place("KUBE-EXT-A"));
}

#[test]
fn chains_behind_jumps_are_reachable() {
    let mut rules = nat(&[("KUBE-SERVICES", "KUBE-SVC-A"), ("KUBE-SVC-B", "KUBE-SEP-B")]);
    assert!(reachable(&rules).is_empty(), "there is no jump");
    let rule = parse_rule("-j KUBE-SERVICES", IpFamily::V4);
    rules.jumps.push(Jump { table: Table::Nat, from: "OUTPUT", rule, shared: false });
    let mut names: Vec<&str> = reachable(&rules).into_iter().map(|(_, name)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["KUBE-SERVICES", "KUBE-SVC-A"]);
}

#[test]
fn chains_of_one_service_are_one_group_in_whichever_set_they_meet() {
    let before = nat(&[("KUBE-SERVICES", "KUBE-SVC-A"), ("KUBE-SVC-A", "KUBE-SEP-A")]);
    let after = nat(&[
        ("KUBE-SERVICES", "KUBE-SVC-B"),
        ("KUBE-SVC-B", "KUBE-SEP-B"),
        ("KUBE-EXT-A", "KUBE-SVC-A"),
    ]);
    let groups = groups([&before, &after]);
    assert_eq!(groups["KUBE-SEP-A"], groups["KUBE-EXT-A"]);
    assert_eq!(groups["KUBE-SVC-B"], groups["KUBE-SEP-B"]);
    assert_ne!(groups["KUBE-SVC-A"], groups["KUBE-SVC-B"]);
    assert!(!groups.contains_key("KUBE-SERVICES"));
}

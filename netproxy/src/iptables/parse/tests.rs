use std::sync::Arc;

use super::{parse_rule, parse_saved};
use crate::config::IpFamily;
use crate::iptables::render::rule_text;
use crate::rules::ruleset::{ChainKey, Match, Rule, RuleSet, Table};

#[test]
fn what_iptables_is_told_and_what_it_prints_is_the_same_rule() {
    let cases = [
        ("-j MARK --or-mark 0x00004000", "-j MARK --set-xmark 0x4000/0x4000"),
        ("-j MARK --xor-mark 0x00004000", "-j MARK --set-xmark 0x4000/0x0"),
        (
            "-m mark ! --mark 0x00004000/0x00004000 -j RETURN",
            "-m mark ! --mark 0x4000/0x4000 -j RETURN",
        ),
        (
            "-m comment --comment \"a b\" -m tcp -p tcp -d 172.30.0.41 --dport 80 ! -s 10.0.0.0/8 -j X",
            "! -s 10.0.0.0/8 -d 172.30.0.41/32 -p tcp -m comment --comment \"a b\" -m tcp --dport 80 -j X",
        ),
        ("-m comment --comment a/b:c -j X", "-m comment --comment \"a/b:c\" -j X"),
        ("-j REJECT", "-j REJECT --reject-with icmp-port-unreachable"),
        (
            "-m statistic --mode random --probability 0.3333333333 -j X",
            "-m statistic --mode random --probability 0.33333333349 -j X",
        ),
        (
            "-m recent --name N --rcheck --seconds 9 --reap -j X",
            "-m recent --rcheck --seconds 9 --reap --name N --mask 255.255.255.255 --rsource -j X",
        ),
        (
            "-m recent --name N --set -m tcp -p tcp -j DNAT --to-destination 10.0.0.1:80",
            "-p tcp -m recent --set --name N --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.0.0.1:80",
        ),
        ("-i veth+ -j X", "-i veth+ -j X"),
        ("-m comment --comment \"no target\"", "-m comment --comment \"no target\""),
    ];
    for (told, printed) in cases {
        let rule = parse_rule(told, IpFamily::V4);
        assert_eq!(rule, parse_rule(printed, IpFamily::V4), "{told}");
        assert_eq!(rule_text(&rule, IpFamily::V4).trim_start(), printed, "{told}");
    }
}

#[test]
fn ipv6_rules_are_read() {
    for text in [
        "-d fd00::1/128 -p udp -m udp --dport 53 -j REJECT --reject-with icmp6-port-unreachable",
        "-p tcp -m tcp -j DNAT --to-destination [fd00::1]:80",
        "-m recent --set --name N --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource -j X",
    ] {
        let rule = parse_rule(text, IpFamily::V6);
        assert_eq!(rule_text(&rule, IpFamily::V6).trim_start(), text);
        assert!(!matches!(rule.matches.first(), Some(Match::Foreign(_))), "{text}");
    }
}

#[test]
fn rules_we_would_never_write_stay_as_they_are() {
    for text in [
        "-m set --match-set x src -j ACCEPT",
        "-p tcp -m multiport --dports 1,2 -j ACCEPT",
        "-p tcp -m tcp --dport 80:90 -j ACCEPT",
        "-j LOG --log-prefix \"a b\"",
        "! -p tcp -j ACCEPT",
        "-o eth0 -j ACCEPT",
        "-m comment --comment \"open",
        "-j REJECT --reject-with tcp-reset",
    ] {
        let rule = parse_rule(text, IpFamily::V4);
        assert_eq!(rule.matches, [Match::Foreign(text.into())], "{text}");
        assert_eq!(rule_text(&rule, IpFamily::V4).trim_start(), text);
    }
}

#[test]
fn comments_survive_any_letter() {
    let text = r#"-m comment --comment "a \"quoted\" \\ back" -j X"#;
    let rule = parse_rule(text, IpFamily::V4);
    assert_eq!(rule.matches, [Match::Comment(r#"a "quoted" \ back"#.into())]);
    assert_eq!(rule_text(&rule, IpFamily::V4).trim_start(), text);
}

#[test]
fn tables_of_others_are_skipped_and_chains_of_others_not_compared() {
    let text = "# Generated\n*raw\n:PREROUTING ACCEPT [1:2]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n\
        *nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:CNI-X - [0:0]\n\
        -A PREROUTING -j CNI-X\n-A KUBE-SERVICES -j ACCEPT\nCOMMIT\n";
    let live = parse_saved(text, IpFamily::V4);
    assert_eq!(live.chains.len(), 3);
    assert_eq!(live.chains[&ChainKey::new(Table::Nat, "PREROUTING")].len(), 1);
    let ours = live.compared_with(&RuleSet::default());
    let names: Vec<_> = ours.chains.keys().map(|key| &*key.name).collect();
    assert_eq!(names, ["KUBE-SERVICES"]);
}

#[test]
fn rules_of_the_kubelet_in_a_chain_we_leave_empty_are_no_difference() {
    let text = "*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL -j DROP\nCOMMIT\n";
    let live = parse_saved(text, IpFamily::V4);
    let key = ChainKey::new(Table::Filter, "KUBE-FIREWALL");
    for (rules, left) in [(vec![], 0), (vec![Arc::new(Rule::default())], 1)] {
        let mut wanted = RuleSet::default();
        wanted.chains.insert(key.clone(), rules.into());
        assert_eq!(live.compared_with(&wanted).chains[&key].len(), left);
    }
}

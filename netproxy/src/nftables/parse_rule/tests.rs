use proptest::prelude::*;

use super::super::base_chains::base_chains;
use super::super::layout::{Path, SharedChain, TableContext};
use super::super::render_rule::RuleText;
use super::super::state::Chain;
use super::*;
use crate::rules::{Detector, NodePortDestinations};

fn contexts(family: IpFamily) -> Vec<TableContext> {
    let net = |v4: &str, v6: &str| match family {
        IpFamily::V4 => v4.parse().unwrap(),
        IpFamily::V6 => v6.parse().unwrap(),
    };
    let source = Detector::Source(net("10.0.0.0/8", "fd00:10::/64"));
    let host = Detector::Source(net("10.0.0.1/32", "fd00:10::1/128"));
    let everything = Detector::Source(net("0.0.0.0/0", "::/0"));
    let bridge = Detector::Interface("cbr0".into());
    let prefix = Detector::Interface("veth+".into());
    let some = [Some(source), Some(host), Some(everything), Some(bridge), Some(prefix), None];
    let context = |(detector, all): (Option<Detector>, bool)| TableContext {
        family,
        node_ip: None,
        detector,
        mark: if all { 0x8000_0000 } else { 0x4000 },
        masquerade_all: all,
        node_ports: if all {
            NodePortDestinations::All
        } else {
            NodePortDestinations::Only(Vec::new())
        },
        service_cidrs: vec![net("172.30.0.0/16", "fd00:172::/112")],
    };
    let both = some.into_iter().flat_map(|detector| [(detector.clone(), false), (detector, true)]);
    both.map(context).collect()
}

fn shared_chains(context: &TableContext) -> Vec<Chain> {
    let mut all = Vec::new();
    for path in Path::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            for affinity in [None, Some(1), Some(10_800), Some(86_400)] {
                let chain = SharedChain::Balance { path, protocol, count: 5000, affinity };
                all.extend(chain.needs());
                all.push(chain);
            }
        }
    }
    let range = |text: &str| text.parse().unwrap();
    all.push(SharedChain::Firewall([range("203.0.113.0/25"), range("2001:db8::/32")].into()));
    all.iter().map(|chain| chain.chain(context)).collect()
}

#[test]
fn every_rule_reads_back_from_its_text() {
    for family in [IpFamily::V4, IpFamily::V6] {
        for context in contexts(family) {
            let chains = base_chains(&context).into_values().chain(shared_chains(&context));
            for rule in chains.flat_map(|chain| chain.rules) {
                let text = RuleText { rule: &rule, family }.to_string();
                assert_eq!(parse_rule(&text, family).as_ref(), Some(&rule), "{text}");
            }
        }
    }
}

#[test]
fn rules_of_others_are_none_of_ours() {
    for text in [
        "counter packets 0 bytes 0 drop",
        "ip saddr { 10.0.0.1, 10.0.0.2 } drop",
        "ip saddr @unknown drop",
        "ip6 daddr ::1 drop",
        "numgen random mod 2 vmap { 0 : drop, 1 : accept }",
        "meta mark & 0x4000 == 0x4000 return",
        "update @affinity { ip saddr timeout 3h }",
        "update @affinity { ip saddr . meta priority & ffff:0 timeout 3x : meta priority }",
        "dnat ip to 10.0.0.1:80",
        "jump",
        "ip daddr",
        "iifname veth0 drop",
        "drop comment \"open",
    ] {
        assert_eq!(parse_rule(text, IpFamily::V4), None, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "[a-z0-9@:./&|^!={}\" -]{0,60}") {
        let _ = parse_rule(&text, IpFamily::V4);
        let _ = parse_rule(&text, IpFamily::V6);
    }

    #[test]
    fn words_in_any_order_do_no_harm(
        words in proptest::collection::vec(
            prop::sample::select(vec![
                "ip", "saddr", "daddr", "meta", "l4proto", "priority", "mark", "set", "&", "!=",
                "none", "update", "@affinity", "{", "}", ":", ".", "timeout", "3h", "dnat", "to",
                "map", "vmap", "@service-ips", "numgen", "random", "mod", "2", "th", "dport",
                "0x1", "tcp", "fib", "type", "local", "jump", "99999999999d",
            ]),
            0..14,
        ),
    ) {
        let _ = parse_rule(&words.join(" "), IpFamily::V4);
    }
}

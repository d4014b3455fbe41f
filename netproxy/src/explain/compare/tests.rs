use super::*;
use crate::iptables::parse::parse_saved;

fn chain(rules: &[&str]) -> Chain {
    let text: String = rules.iter().map(|rule| format!("-A KUBE-SERVICES {rule}\n")).collect();
    let live = parse_saved(&format!("*nat\n:KUBE-SERVICES -\n{text}COMMIT\n"), IpFamily::V4);
    live.chains.into_values().next().unwrap_or_default().into()
}

fn told(live: &[&str], planned: &[&str]) -> String {
    let key = ChainKey::new(crate::rules::ruleset::Table::Nat, "KUBE-SERVICES");
    let lines = lines(&chain(live), &chain(planned), &key, IpFamily::V4);
    let told = lines.iter().map(|line| {
        let sign = if line.side == LineSide::Live { '-' } else { '+' };
        format!("{sign}{}", line.rule.rsplit_once("-j ").unwrap().1)
    });
    told.collect::<Vec<_>>().join(" ")
}

#[test]
fn only_rules_of_one_side_are_told_in_their_place() {
    let cases: [(&[&str], &[&str], &str); 7] = [
        (&["-j A", "-j B"], &["-j A", "-j B"], ""),
        (&["-j A"], &["-j A", "-j B"], "+B"),
        (&["-j A", "-j B"], &["-j B"], "-A"),
        (&["-j A", "-j X", "-j C"], &["-j A", "-j B", "-j C"], "-X +B"),
        (&["-j A", "-j B"], &["-j B", "-j A"], ""),
        (&["-j A"], &["-j A", "-j A"], "+A"),
        (&["-j A", "-j A"], &[], "-A -A"),
    ];
    for (live, planned, expected) in cases {
        assert_eq!(told(live, planned), expected, "{live:?} {planned:?}");
    }
}

#[test]
fn spelling_of_a_rule_is_no_difference() {
    let planned = "-p tcp -m comment --comment x -m tcp --dport 80 -j A";
    assert_eq!(told(&["-p tcp -m tcp --dport 80 -m comment --comment x -j A"], &[planned]), "");
}

#[test]
fn text_mentions_a_service_only_by_its_whole_name() {
    let service = ObjectKey::new("a", "web");
    for (text, expected) in [
        ("a/web cluster IP", true),
        ("a/web:http -> 10.0.0.1:80", true),
        ("masquerade traffic for a/web:http external destinations", true),
        ("a/webber cluster IP", false),
        ("aa/web", false),
        ("KUBE-X --comment \"a/web has no endpoints\" -j REJECT", true),
    ] {
        assert_eq!(text_mentions(text, &service), expected, "{text}");
    }
}

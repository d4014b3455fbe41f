use super::diff;
use crate::config::IpFamily;
use crate::iptables::parse::parse_saved;
use crate::rules::ruleset::RuleSet;

fn nat(lines: &str) -> RuleSet {
    let text = format!("*nat\n{lines}\nCOMMIT\n");
    parse_saved(&text, IpFamily::V4).compared_with(&RuleSet::default())
}

#[test]
fn only_chains_that_differ_are_written() {
    let from = nat(":KUBE-SVC-A - [0:0]\n:KUBE-SVC-B - [0:0]\n-A KUBE-SVC-A -j ACCEPT");
    let to = nat(":KUBE-SVC-A - [0:0]\n:KUBE-SVC-C - [0:0]\n-A KUBE-SVC-A -j DROP");
    let steps = diff(&from, &to);
    let written: Vec<_> = steps.write.keys().map(|key| &*key.name).collect();
    let deleted: Vec<_> = steps.delete.iter().map(|key| &*key.name).collect();
    assert_eq!((written, deleted), (vec!["KUBE-SVC-A", "KUBE-SVC-C"], vec!["KUBE-SVC-B"]));
    assert_eq!(steps.applied_to(&from), to);
    assert!(diff(&to, &to).is_empty());
}

#[test]
fn another_spelling_of_the_same_rule_is_no_difference() {
    let planned = nat(
        "-A KUBE-SEP-A -p tcp -m comment --comment \"a/b\" -m recent --set --name X --rsource -m tcp -j DNAT --to-destination 10.0.0.1:80",
    );
    let printed = nat(
        "-A KUBE-SEP-A -p tcp -m recent --set --name X --mask 255.255.255.255 --rsource -m comment --comment a/b -j DNAT --to-destination 10.0.0.1:80",
    );
    assert!(diff(&printed, &planned).is_empty());
    let other = nat("-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80");
    assert!(!diff(&other, &planned).is_empty());
}

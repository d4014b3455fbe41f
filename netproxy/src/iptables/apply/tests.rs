use std::sync::Arc;

use super::{Applier, SyncError};
use crate::config::IpFamily;
use crate::iptables::parse::parse_saved;
use crate::rules::ruleset::{ChainKey, Jump, Rule, RuleSet, Table, Target};
use crate::testing::FakeIptables;

fn wanted(services: &[&str]) -> RuleSet {
    let mut text = "*mangle\n:KUBE-PROXY-CANARY - [0:0]\n*nat\n:KUBE-SERVICES - [0:0]\n".to_owned();
    for service in services {
        text.push_str(&format!(":KUBE-SVC-{service} - [0:0]\n"));
    }
    for service in services {
        text.push_str(&format!("-A KUBE-SERVICES -j KUBE-SVC-{service}\n"));
    }
    let mut rules = parse_saved(&text, IpFamily::V4).compared_with(&RuleSet::default());
    let rule = Rule { target: Some(Target::Jump("KUBE-SERVICES".into())), ..Rule::default() };
    rules.jumps.push(Jump { table: Table::Nat, from: "OUTPUT", rule, shared: false });
    rules
}

fn setup() -> (Arc<FakeIptables>, Applier) {
    let iptables = FakeIptables::new(IpFamily::V4);
    (iptables.clone(), Applier::new(iptables, IpFamily::V4))
}

fn is_live(iptables: &FakeIptables, rules: &RuleSet) -> bool {
    iptables.live().compared_with(rules) == *rules
}

#[tokio::test]
async fn only_the_difference_is_written() {
    let (iptables, mut applier) = setup();
    let first = applier.sync(wanted(&["A", "B"])).await.unwrap();
    assert!(first.full && is_live(&iptables, &wanted(&["A", "B"])));
    iptables.take_calls();

    let second = applier.sync(wanted(&["A", "C"])).await.unwrap();
    assert_eq!((second.written, second.deleted, second.full), (2, 1, false));
    let writes = iptables.take_writes();
    assert_eq!(
        writes,
        ["*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-C - [0:0]\n:KUBE-SVC-B - [0:0]\n\
          -A KUBE-SERVICES -j KUBE-SVC-A\n-A KUBE-SERVICES -j KUBE-SVC-C\n\
          -X KUBE-SVC-B\nCOMMIT\n"]
    );
    assert!(is_live(&iptables, &wanted(&["A", "C"])));

    applier.sync(wanted(&["A", "C"])).await.unwrap();
    assert!(iptables.take_calls().is_empty());
}

#[tokio::test]
async fn start_over_live_rules_reads_and_writes_nothing() {
    let (iptables, mut applier) = setup();
    applier.sync(wanted(&["A"])).await.unwrap();
    iptables.take_calls();
    let mut restarted = Applier::new(iptables.clone(), IpFamily::V4);
    let report = restarted.sync(wanted(&["A"])).await.unwrap();
    assert_eq!((report.written, report.deleted, report.jumps, report.full), (0, 0, 0, true));
    assert!(iptables.take_writes().is_empty());
}

#[tokio::test]
async fn refused_change_is_compared_with_live_rules_at_once() {
    let (iptables, mut applier) = setup();
    applier.sync(wanted(&["A"])).await.unwrap();
    // Somebody removed a chain that the next change relies on.
    iptables.set("");
    let report = applier.sync(wanted(&["A", "B"])).await.unwrap();
    assert!(report.full);
    assert!(is_live(&iptables, &wanted(&["A", "B"])));
}

#[tokio::test]
async fn stale_chain_in_foreign_use_is_emptied_and_services_work() {
    let (iptables, mut applier) = setup();
    applier.sync(wanted(&["A", "B"])).await.unwrap();
    let foreign = "*nat\n:MINE - [0:0]\n-A MINE -j KUBE-SVC-B\nCOMMIT\n";
    crate::iptables::Iptables::restore(&*iptables, foreign.to_owned()).await.unwrap();

    applier.sync(wanted(&["A"])).await.unwrap();
    let live = iptables.live();
    assert_eq!(live.chains[&ChainKey::new(Table::Nat, "KUBE-SVC-B")], []);
    assert_eq!(live.chains[&ChainKey::new(Table::Nat, "KUBE-SERVICES")].len(), 1);
    iptables.take_calls();
    applier.sync(wanted(&["A", "C"])).await.unwrap();
    assert_eq!(iptables.take_writes().len(), 1, "the stale chain must not fail later changes");
}

#[tokio::test]
async fn failures_name_what_failed_and_force_a_comparison() {
    let (iptables, mut applier) = setup();
    iptables.fail_next("save");
    assert!(matches!(applier.sync(wanted(&["A"])).await, Err(SyncError::Read { .. })));
    iptables.fail_next("restore");
    assert!(matches!(applier.sync(wanted(&["A"])).await, Err(SyncError::Write { .. })));
    iptables.fail_next("ensure_jump");
    assert!(matches!(applier.sync(wanted(&["A"])).await, Err(SyncError::Jump { .. })));
    assert!(applier.needs_full());
    let report = applier.sync(wanted(&["A"])).await.unwrap();
    assert_eq!((report.written, report.jumps), (0, 1));
}

#[tokio::test]
async fn flush_is_noticed() {
    let (iptables, mut applier) = setup();
    assert!(!applier.lost().await.unwrap(), "nothing was written yet");
    applier.sync(wanted(&["A"])).await.unwrap();
    assert!(!applier.lost().await.unwrap());
    iptables.set("");
    assert!(applier.lost().await.unwrap());
}

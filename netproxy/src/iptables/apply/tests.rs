use std::sync::Arc;

use super::{Applier, SyncError};
use crate::config::IpFamily;
use crate::iptables::Flavour;
use crate::iptables::parse::parse_saved;
use crate::rules::ruleset::{ChainKey, Jump, Rule, RuleSet, Table, Target};
use crate::testing::{FakeIptables, Fault};

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
        [
            "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-C - [0:0]\n\
             -A KUBE-SERVICES -j KUBE-SVC-A\n-A KUBE-SERVICES -j KUBE-SVC-C\nCOMMIT\n",
            "*nat\n:KUBE-SVC-B - [0:0]\n-X KUBE-SVC-B\nCOMMIT\n",
        ]
    );
    assert!(is_live(&iptables, &wanted(&["A", "C"])));

    applier.sync(wanted(&["A", "C"])).await.unwrap();
    assert!(iptables.take_calls().is_empty());
}

#[tokio::test]
async fn legacy_flavour_is_written_at_once() {
    let iptables = FakeIptables::of_flavour(IpFamily::V4, Flavour::Legacy);
    let mut applier = Applier::new(iptables.clone(), IpFamily::V4);
    applier.sync(wanted(&["A", "B"])).await.unwrap();
    assert_eq!(iptables.take_writes().len(), 1, "jumps included");
    applier.sync(wanted(&["A", "C"])).await.unwrap();
    assert_eq!(
        iptables.take_writes(),
        ["*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-C - [0:0]\n:KUBE-SVC-B - [0:0]\n\
          -A KUBE-SERVICES -j KUBE-SVC-A\n-A KUBE-SERVICES -j KUBE-SVC-C\n\
          -X KUBE-SVC-B\nCOMMIT\n"]
    );
    assert!(is_live(&iptables, &wanted(&["A", "C"])));
}

/// Many services, so that the dispatching chain is edited.
fn many(left_out: usize) -> RuleSet {
    let names: Vec<String> =
        (0..200).filter(|n| *n != left_out).map(|n| format!("{n:03}")).collect();
    wanted(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn long_chain_is_edited_and_not_written_again() {
    let (iptables, mut applier) = setup();
    applier.sync(many(77)).await.unwrap();
    iptables.take_calls();
    applier.sync(many(78)).await.unwrap();
    assert_eq!(
        iptables.take_writes()[1],
        "*nat\n-D KUBE-SERVICES -j KUBE-SVC-199\n-I KUBE-SERVICES 199 -j KUBE-SVC-199\n\
         -D KUBE-SERVICES -j KUBE-SVC-078\n-I KUBE-SERVICES 78 -j KUBE-SVC-077\nCOMMIT\n"
    );
    assert!(is_live(&iptables, &many(78)));
}

#[tokio::test]
async fn edit_of_a_chain_that_lost_a_rule_is_refused_and_the_chain_mended() {
    let (iptables, mut applier) = setup();
    applier.sync(many(77)).await.unwrap();
    let foreign = "*nat\n-D KUBE-SERVICES -j KUBE-SVC-005\nCOMMIT\n";
    crate::iptables::Iptables::restore(&*iptables, foreign.to_owned()).await.unwrap();
    let report = applier.sync(many(78)).await.unwrap();
    assert!(report.full);
    assert!(is_live(&iptables, &many(78)));
}

#[tokio::test]
async fn hanging_restore_keeps_the_last_rules_and_is_made_good() {
    let (iptables, mut applier) = setup();
    applier.sync(wanted(&["A"])).await.unwrap();
    iptables.set_fault(Some(Fault::Hang));
    assert!(applier.sync(wanted(&["B"])).await.is_err());
    assert!(is_live(&iptables, &wanted(&["A"])));
    iptables.set_fault(None);
    assert!(applier.sync(wanted(&["B"])).await.unwrap().full);
    assert!(is_live(&iptables, &wanted(&["B"])));
}

#[tokio::test]
async fn rules_get_there_however_often_restores_fail() {
    for nth in 2..6 {
        let (iptables, mut applier) = setup();
        iptables.set_fault(Some(Fault::Every(nth)));
        for services in [&["A"][..], &["B", "C"], &["C"]] {
            let mut tries = 0;
            while applier.sync(wanted(services)).await.is_err() {
                tries += 1;
                assert!(tries < 10, "every {nth}th restore fails");
            }
            assert!(is_live(&iptables, &wanted(services)), "every {nth}th restore fails");
        }
    }
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
    assert!(applier.needs_full());
    let report = applier.sync(wanted(&["A"])).await.unwrap();
    assert_eq!((report.written, report.jumps), (3, 1));
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

#[tokio::test]
async fn jumps_do_not_pile_up_where_iptables_cannot_show_the_table() {
    let (iptables, mut applier) = setup();
    applier.sync(wanted(&["A"])).await.unwrap();
    iptables.make_incompatible(Table::Nat);
    for services in [&["A"][..], &["A", "B"], &["B"]] {
        applier.forget();
        applier.sync(wanted(services)).await.unwrap();
        let live = iptables.live();
        assert_eq!(live.chains[&ChainKey::new(Table::Nat, "OUTPUT")].len(), 1);
        assert_eq!(live.chains[&ChainKey::new(Table::Nat, "KUBE-SERVICES")].len(), services.len());
    }
}

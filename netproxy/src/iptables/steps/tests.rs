use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{CHAINS, Knowledge, plan_steps};
use crate::config::IpFamily;
use crate::iptables::graph::jump_target;
use crate::iptables::parse::parse_saved;
use crate::iptables::render::step_input;
use crate::iptables::step::{RestoreStep, Stage};
use crate::iptables::{Flavour, Iptables};
use crate::rules::ruleset::{ChainKey, Jump, Match, Rule, RuleSet, Table, Target};
use crate::testing::FakeIptables;

/// A service of the tests: its number, endpoints and a setting that is in all of its chains.
#[derive(Clone, Debug)]
struct Service {
    number: u8,
    address: u8,
    endpoints: Vec<u8>,
    setting: u8,
}

fn any_services() -> impl Strategy<Value = Vec<Service>> {
    let service = (0..3_u8, proptest::collection::btree_set(0..4_u8, 0..4), 0..2_u8, any::<bool>());
    proptest::collection::vec(service, 8).prop_map(|services| {
        let numbered = (0..).zip(services).filter(|(_, (.., there))| *there);
        numbered
            .map(|(number, (address, endpoints, setting, _))| Service {
                number,
                address,
                endpoints: endpoints.into_iter().collect(),
                setting,
            })
            .collect()
    })
}

fn rule_set(services: &[Service]) -> RuleSet {
    let mut text =
        "*filter\n:KUBE-SERVICES - [0:0]\n*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n"
            .to_owned();
    for Service { number, address, endpoints, setting } in services {
        let title = format!("-m comment --comment \"a/s{number} cluster IP\"");
        let way_in = format!("-A KUBE-SERVICES -d 172.30.{address}.{number}/32 {title}");
        if endpoints.is_empty() {
            text.push_str(&format!("*filter\n{way_in} -j REJECT\n"));
            continue;
        }
        text.push_str(&format!(
            "*nat\n:KUBE-SVC-{number} - [0:0]\n{way_in} -j KUBE-SVC-{number}\n"
        ));
        text.push_str(&format!(
            "-A KUBE-SVC-{number} -d 172.30.{address}.{number}/32 -s 10.{setting}.0.0/16 -j KUBE-MARK-MASQ\n"
        ));
        for endpoint in endpoints {
            let chain = format!("KUBE-SEP-{number}-{endpoint}");
            text.push_str(&format!(
                ":{chain} - [0:0]\n-A KUBE-SVC-{number} -j {chain}\n\
                 -A {chain} -p tcp -m mark --mark 0x{setting}/0x1 -m tcp -j DNAT --to-destination 10.0.{number}.{endpoint}:80\n"
            ));
        }
    }
    let mut rules = parse_saved(&text, IpFamily::V4).compared_with(&RuleSet::default());
    for (table, from) in [(Table::Filter, "FORWARD"), (Table::Nat, "OUTPUT")] {
        let rule = Rule { target: Some(Target::Jump("KUBE-SERVICES".into())), ..Rule::default() };
        rules.jumps.push(Jump { table, from, rule, shared: false });
    }
    rules
}

/// The nat rules that packets of each service meet.
fn by_service(rules: &RuleSet) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let hooked = rules.jumps.iter().any(|jump| jump.table == Table::Nat);
    let ways_in = rules.chains.get(&ChainKey::new(Table::Nat, "KUBE-SERVICES")).filter(|_| hooked);
    for way_in in ways_in.into_iter().flat_map(|chain| chain.iter()) {
        let Some(Match::Comment(title)) = way_in.matches.first() else { continue };
        let met = found.entry(title.to_string()).or_default();
        met.insert(format!("{way_in:?}"));
        let mut open = vec![jump_target(way_in).unwrap().to_owned()];
        while let Some(name) = open.pop() {
            let chain = &rules.chains[&ChainKey::new(Table::Nat, name.clone())];
            for rule in chain.iter() {
                met.insert(format!("{name} {rule:?}"));
                open.extend(jump_target(rule).map(str::to_owned));
            }
        }
    }
    found
}

/// Titles of services that the filter table rejects.
fn rejected(rules: &RuleSet) -> BTreeSet<String> {
    let chain = rules.chains.get(&ChainKey::new(Table::Filter, "KUBE-SERVICES"));
    let titles = chain.into_iter().flat_map(|chain| chain.iter());
    titles
        .filter_map(|rule| match rule.matches.first() {
            Some(Match::Comment(title)) => Some(title.to_string()),
            _ => None,
        })
        .collect()
}

fn live(iptables: &FakeIptables, wanted: &RuleSet) -> RuleSet {
    iptables.live().compared_with(wanted)
}

async fn take(iptables: &FakeIptables, step: &RestoreStep) {
    let input = step_input(step, IpFamily::V4);
    iptables.restore(input.clone()).await.unwrap_or_else(|error| panic!("{error}: {input}"));
}

/// Goes from one set to the other, part by part, and looks at what packets would meet after each.
async fn check(from: &RuleSet, to: &RuleSet, flavour: Flavour, knowledge: Knowledge) {
    let iptables = FakeIptables::of_flavour(IpFamily::V4, flavour);
    for step in plan_steps(&RuleSet::default(), from, flavour, Knowledge::Read) {
        take(&iptables, &step).await;
    }
    assert_eq!(&live(&iptables, from), from);
    let (before, after) = (by_service(from), by_service(to));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for step in plan_steps(from, to, flavour, knowledge) {
        for part in step.parts {
            let part = RestoreStep { stage: step.stage, parts: vec![part] };
            take(&iptables, &part).await;
            let state = live(&iptables, to);
            let met = by_service(&state);
            for name in &names {
                let now = met.get(*name);
                assert!(
                    now == before.get(*name) || now == after.get(*name),
                    "{name} has neither its old nor its new rules: {now:?}"
                );
            }
            let rejected = rejected(&state);
            let served: BTreeSet<String> = met.into_keys().collect();
            let lost = names.iter().filter(|name| !served.contains(**name)).find(|name| {
                !rejected.contains(**name) && before.contains_key(**name) && !is_gone(to, name)
            });
            assert_eq!(lost, None, "neither served nor rejected");
        }
    }
    assert_eq!(&live(&iptables, to), to);
}

fn is_gone(rules: &RuleSet, title: &str) -> bool {
    !rejected(rules).contains(title) && !by_service(rules).contains_key(title)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_service_has_all_old_or_all_new_rules_after_every_part(
        from in any_services(), to in any_services(),
    ) {
        let (from, to) = (rule_set(&from), rule_set(&to));
        for flavour in Flavour::ALL {
            for knowledge in [Knowledge::Read, Knowledge::Written] {
                block_on(check(&from, &to, flavour, knowledge));
            }
        }
    }

    #[test]
    fn flushed_tables_are_written_again_without_half_a_service(services in any_services()) {
        let wanted = rule_set(&services);
        let mut flushed = wanted.clone();
        flushed.jumps.clear();
        flushed.chains.values_mut().for_each(|chain| *chain = [].into());
        for flavour in Flavour::ALL {
            block_on(check(&flushed, &wanted, flavour, Knowledge::Read));
        }
    }
}

/// So many services that a step does not hold them.
fn crowd(setting: u8, moved: usize) -> RuleSet {
    let services = CHAINS + 100;
    let mut text = "*nat\n:KUBE-SERVICES - [0:0]\n".to_owned();
    for number in 0..services {
        let address =
            format!("172.{}.{}.{}", 30 + u8::from(number < moved), number / 256, number % 256);
        text.push_str(&format!(
            "-A KUBE-SERVICES -d {address}/32 -m comment --comment \"a/s{number} cluster IP\" -j KUBE-SVC-{number}\n\
             -A KUBE-SVC-{number} -s 10.{setting}.0.0/16 -d {address}/32 -j KUBE-SEP-{number}\n\
             -A KUBE-SEP-{number} -s 10.{setting}.0.0/16 -j ACCEPT\n"
        ));
    }
    let mut rules = parse_saved(&text, IpFamily::V4).compared_with(&RuleSet::default());
    let rule = Rule { target: Some(Target::Jump("KUBE-SERVICES".into())), ..Rule::default() };
    rules.jumps.push(Jump { table: Table::Nat, from: "OUTPUT", rule, shared: false });
    rules
}

fn stages(steps: &[RestoreStep]) -> Vec<(Stage, usize, usize)> {
    steps.iter().map(|step| (step.stage, step.counts().written, step.counts().removed)).collect()
}

#[test]
fn crowd_is_built_in_chunks_before_packets_are_led_to_it() {
    let crowd = crowd(0, 0);
    let steps = plan_steps(&RuleSet::default(), &crowd, Flavour::Nft, Knowledge::Read);
    let stages = stages(&steps);
    let (last, builds) = stages.split_last().unwrap();
    assert_eq!(*last, (Stage::Switch, 0, 0), "only the jump");
    assert!(builds.iter().all(|(stage, written, _)| *stage == Stage::Build && *written <= CHAINS));
    let written: usize = builds.iter().map(|(_, written, _)| written).sum();
    assert_eq!(written, crowd.chains.len());
    block_on(check(&RuleSet::default(), &crowd, Flavour::Nft, Knowledge::Read));
}

#[test]
fn crowd_that_changes_behind_its_ways_in_changes_service_by_service() {
    let (from, to) = (crowd(0, 0), crowd(1, 3));
    let steps = plan_steps(&from, &to, Flavour::Nft, Knowledge::Written);
    let (last, changes) = steps.split_last().unwrap();
    assert!(
        changes.iter().all(|step| step.stage == Stage::Change && step.counts().written <= CHAINS)
    );
    // The services whose addresses change have to change along with their ways in.
    assert_eq!((last.stage, last.counts().written), (Stage::Switch, 3 * 2 + 1));
    block_on(check(&from, &to, Flavour::Nft, Knowledge::Written));
}

#[test]
fn crowd_that_goes_is_removed_in_chunks_after_its_ways_in() {
    let (from, to) = (crowd(0, 0), rule_set(&[]));
    let steps = plan_steps(&from, &to, Flavour::Nft, Knowledge::Written);
    let stages: Vec<Stage> = steps.iter().map(|step| step.stage).collect();
    let switch = stages.iter().position(|stage| *stage == Stage::Switch).unwrap();
    assert!(stages[switch + 1..].iter().all(|stage| *stage == Stage::Remove));
    assert!(steps.iter().all(|step| step.counts().removed <= CHAINS));
    block_on(check(&from, &to, Flavour::Nft, Knowledge::Written));
}

#[test]
fn legacy_flavour_takes_one_step_for_everything() {
    let (from, to) = (crowd(0, 0), crowd(1, 3));
    for (from, to) in [(&RuleSet::default(), &from), (&from, &to), (&to, &rule_set(&[]))] {
        assert_eq!(plan_steps(from, to, Flavour::Legacy, Knowledge::Written).len(), 1);
        assert!(plan_steps(to, to, Flavour::Legacy, Knowledge::Written).is_empty());
    }
}

#[test]
fn unchanged_table_is_not_mentioned() {
    let from = rule_set(&[Service { number: 1, address: 0, endpoints: vec![1], setting: 0 }]);
    let to = rule_set(&[Service { number: 1, address: 0, endpoints: vec![1, 2], setting: 0 }]);
    for flavour in Flavour::ALL {
        for step in plan_steps(&from, &to, flavour, Knowledge::Written) {
            assert!(step.parts.iter().all(|part| part.table == Table::Nat));
            let text = step_input(&step, IpFamily::V4);
            assert!(!text.contains(":KUBE-SERVICES"), "{text}");
        }
    }
}

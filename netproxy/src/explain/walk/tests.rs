use super::*;
use crate::config::IpFamily;
use crate::explain::live::LiveRules;
use crate::rules::RuleSet;

const SAVED: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A FORWARD -s 10.9.0.0/16 -j ACCEPT
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-SEP-B - [0:0]
:KUBE-SEP-C - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -m set --match-set x dst -j DROP
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SERVICES -d 10.96.0.2/32 -j KUBE-SVC-GONE
-A KUBE-SVC-A ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ
-A KUBE-SVC-A -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-A
-A KUBE-SVC-A -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-B
-A KUBE-SVC-A -j KUBE-SEP-C
-A KUBE-SEP-A -p tcp -j DNAT --to-destination 10.0.0.1:8080
-A KUBE-SEP-B -p tcp -j DNAT --to-destination 10.0.0.2:8080
-A KUBE-SEP-C -p tcp -j DNAT --to-destination 10.0.0.3:8080
COMMIT
";

fn packet(source: &str, destination: &str) -> Packet {
    Packet {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        port: 80,
        protocol: Protocol::Tcp,
        interface: Some("eth0".into()),
        local_addresses: Vec::new(),
        known_in: Vec::new(),
    }
}

fn walk(saved: &str, packet: &Packet) -> Walk {
    let live = LiveRules::of_saved(saved, IpFamily::V4);
    let portals = Rule {
        matches: vec![Match::Comment("kubernetes service portals".into())],
        target: Some(Target::Jump("KUBE-SERVICES".into())),
        ..Rule::default()
    };
    let jump = Jump { table: Table::Nat, from: "PREROUTING", rule: portals, shared: false };
    let plan = RuleSet { jumps: vec![jump], ..RuleSet::default() };
    let jumps = Some(&*plan.jumps);
    packet.walk(Ruleset { tables: &live.tables, policies: Some(&live.policies), jumps })
}

#[test]
fn shares_of_endpoints_multiply_along_the_chain() {
    let saved = SAVED.replace(":FORWARD DROP", ":FORWARD ACCEPT");
    let walk = walk(&saved, &packet("10.0.0.9", "10.96.0.1"));
    let ends: Vec<(Verdict, String)> =
        walk.ways.iter().map(|way| (way.verdict, format!("{:.6}", way.share))).collect();
    let third = "0.333333".to_owned();
    let to = |text: &str| Verdict::Endpoint(text.parse().unwrap());
    assert_eq!(
        ends,
        [
            (to("10.0.0.1:8080"), third.clone()),
            (to("10.0.0.2:8080"), third.clone()),
            (to("10.0.0.3:8080"), third)
        ]
    );
}

#[test]
fn rules_of_others_are_noted_and_never_followed() {
    let walk = walk(SAVED, &packet("10.9.0.9", "10.96.0.9"));
    let [way] = &*walk.ways else { panic!("{:?}", walk.ways) };
    let unknown: Vec<String> = way
        .steps
        .iter()
        .filter(|step| step.effect == Effect::Unknown)
        .map(|step| format!("{} {}", step.chain, step.number))
        .collect();
    assert_eq!(unknown, ["nat PREROUTING 2", "filter FORWARD 2"]);
    // A rule of others may accept it, so nobody knows whether the policy comes to it.
    assert_eq!(way.verdict, Verdict::Unchanged);
    assert!(way.steps.iter().any(|step| step.effect == Effect::PolicyUnlessAccepted));
}

#[test]
fn rule_of_others_that_cannot_match_is_not_told() {
    let walk = walk(SAVED, &packet("10.0.0.9", "10.96.0.9"));
    let [way] = &*walk.ways else { panic!("{:?}", walk.ways) };
    let unknown = way.steps.iter().filter(|step| step.effect == Effect::Unknown);
    assert_eq!(unknown.count(), 1);
    assert_eq!(way.verdict, Verdict::Dropped);
    assert_eq!(way.decided_by().unwrap().effect, Effect::Policy);
}

#[test]
fn missing_chain_is_a_flaw() {
    let walk = walk(SAVED, &packet("10.0.0.9", "10.96.0.2"));
    let gone = ChainKey::new(Table::Nat, "KUBE-SVC-GONE");
    assert_eq!(walk.flaws, [Flaw::MissingChain(gone)]);
}

#[test]
fn chains_in_a_circle_end() {
    let saved = SAVED
        .replace("-A KUBE-SVC-A ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ", "-A KUBE-SVC-A -j KUBE-SVC-A");
    let walk = walk(&saved, &packet("10.0.0.9", "10.96.0.1"));
    assert!(walk.flaws.iter().any(|flaw| matches!(flaw, Flaw::Loop(_))), "{:?}", walk.flaws);
}

#[test]
fn unknown_interface_splits_the_way_once() {
    let saved = SAVED
        .replace(":FORWARD DROP", ":FORWARD ACCEPT")
        .replace("! -s 10.0.0.0/8", "! -i cali+")
        .replace(":KUBE-SVC-A - [0:0]", ":KUBE-SVC-A - [0:0]\n:KUBE-MARK-MASQ - [0:0]")
        .replace("COMMIT\n", "");
    let saved = format!("{saved}-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n");
    let mut packet = packet("10.0.0.9", "10.96.0.1");
    for (interface, ways, conditions) in [("", 6, 2), ("cali1", 3, 0), ("eth0", 3, 0)] {
        packet.interface = Some(interface.into());
        let walk = walk(&saved, &packet);
        assert_eq!(walk.ways.len(), ways, "{interface}");
        let mut assumed: Vec<_> = walk.ways.iter().flat_map(|way| &way.assumed).collect();
        assumed.sort_by_key(|assumed| assumed.through);
        assumed.dedup();
        assert_eq!(assumed.len(), conditions, "{interface}");
    }
}

use super::*;

/// A watch on a clock that the test moves.
struct Watch {
    pending: Pending,
    own: OwnWriters,
    start: Instant,
}

impl Watch {
    fn new(interest: Interest) -> Self {
        Self { pending: Pending::new(interest), own: OwnWriters::default(), start: Instant::now() }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn edit(&mut self, millis: u64, port: u32, edit: Edit, place: (&str, &str), body: &[u8]) {
        let (table, name) = place;
        let expressions = (!body.is_empty()).then_some(body);
        let content = Content::Edit { edit, table, name, expressions };
        let now = self.at(millis);
        self.pending.take(&Notice { port, family: 2, content }, &self.own, now);
    }

    fn end(&mut self, millis: u64, port: u32, name: &str) {
        let content = Content::Generation { pid: port, name };
        let now = self.at(millis);
        self.pending.take(&Notice { port, family: 0, content }, &self.own, now);
    }

    fn tell(&mut self, millis: u64) -> Option<RuleEvent> {
        let now = self.at(millis);
        self.pending.tell(&self.own, now)
    }
}

const GONE_TABLE: Edit = Edit::Deleted(ObjectKind::Table);
const GONE_CHAIN: Edit = Edit::Deleted(ObjectKind::Chain);
const GONE_RULE: Edit = Edit::Deleted(ObjectKind::Rule);
const NEW_RULE: Edit = Edit::Added(ObjectKind::Rule);
const NEW_CHAIN: Edit = Edit::Added(ObjectKind::Chain);
const NEW_ELEMENT: Edit = Edit::Added(ObjectKind::Element);

#[test]
fn only_edits_that_touch_our_rules_count() {
    use Interest::{Iptables, Nftables};
    let jump: &[u8] = b"\x08\0\x01\0KUBE-SERVICES\0";
    let other_jump: &[u8] = b"\x08\0\x01\0CNI-HOSTPORT\0";
    type Case<'a> = (Interest, Edit, (&'a str, &'a str), &'a [u8], bool);
    let cases: [Case<'_>; 20] = [
        (Iptables, GONE_TABLE, ("nat", ""), &[], true),
        (Iptables, GONE_TABLE, ("raw", ""), &[], false),
        (Iptables, GONE_TABLE, ("kube-proxy", ""), &[], false),
        (Iptables, GONE_CHAIN, ("nat", "KUBE-SVC-AAAA"), &[], true),
        (Iptables, GONE_CHAIN, ("mangle", "KUBE-PROXY-CANARY"), &[], true),
        (Iptables, GONE_CHAIN, ("nat", "CNI-1"), &[], false),
        (Iptables, NEW_CHAIN, ("nat", "KUBE-SVC-AAAA"), &[], false),
        (Iptables, GONE_RULE, ("nat", "KUBE-SERVICES"), &[], true),
        (Iptables, NEW_RULE, ("nat", "KUBE-SERVICES"), &[], true),
        (Iptables, GONE_RULE, ("filter", "KUBE-FIREWALL"), &[], true),
        (Iptables, GONE_RULE, ("nat", "PREROUTING"), jump, true),
        (Iptables, GONE_RULE, ("nat", "PREROUTING"), &[], true),
        (Iptables, GONE_RULE, ("nat", "PREROUTING"), other_jump, false),
        (Iptables, NEW_RULE, ("nat", "PREROUTING"), jump, false),
        (Iptables, GONE_RULE, ("nat", "CNI-1"), &[], false),
        (Iptables, NEW_RULE, ("filter", "KUBE-KUBELET-CANARY"), &[], false),
        (Nftables, GONE_TABLE, ("kube-proxy", ""), &[], true),
        (Nftables, NEW_ELEMENT, ("kube-proxy", "service-ips"), &[], true),
        (Nftables, GONE_RULE, ("nat", "KUBE-SERVICES"), &[], false),
        (Nftables, GONE_TABLE, ("filter", ""), &[], false),
    ];
    for (interest, edit, place, body, expected) in cases {
        let mut watch = Watch::new(interest);
        watch.edit(0, 7, edit, place, body);
        watch.end(0, 7, "iptables");
        assert_eq!(watch.tell(100).is_some(), expected, "{interest:?} {edit:?} {place:?}");
    }
}

#[test]
fn burst_is_told_once_and_names_its_writers() {
    let mut watch = Watch::new(Interest::Iptables);
    watch.edit(0, 7, GONE_RULE, ("nat", "KUBE-SERVICES"), &[]);
    watch.edit(0, 7, GONE_RULE, ("nat", "KUBE-SVC-AAAA"), &[]);
    watch.edit(0, 7, GONE_CHAIN, ("nat", "KUBE-SVC-AAAA"), &[]);
    watch.end(0, 7, "iptables");
    watch.edit(50, 8, GONE_TABLE, ("filter", ""), &[]);
    watch.end(50, 8, "nft");
    assert_eq!(watch.tell(149), None);
    let event = watch.tell(150).unwrap();
    assert_eq!(
        event.to_string(),
        "iptables (pid 7) deleted chains, deleted rules in table ip nat; \
         nft (pid 8) deleted the table in table ip filter"
    );
    assert!(event.concerns(IpFamily::V4));
    assert!(!event.concerns(IpFamily::V6));
    assert_eq!(watch.tell(10_000), None);
}

#[test]
fn endless_burst_is_told_after_a_second() {
    let mut watch = Watch::new(Interest::Nftables);
    for millis in (0..1000).step_by(50) {
        assert_eq!(watch.tell(millis), None);
        watch.edit(millis, 7, NEW_ELEMENT, ("kube-proxy", "service-ips"), &[]);
        watch.end(millis, 7, "nft");
    }
    assert!(watch.tell(1000).is_some());
}

#[test]
fn own_changes_are_not_told() {
    let mut watch = Watch::new(Interest::Nftables);
    watch.own.note(7);
    watch.edit(0, 7, GONE_TABLE, ("kube-proxy", ""), &[]);
    watch.end(0, 7, "nft");
    assert_eq!(watch.pending.due(), None);
    // The child spoke before its process id was noted.
    watch.edit(0, 8, GONE_TABLE, ("kube-proxy", ""), &[]);
    watch.end(0, 8, "nft");
    watch.own.note(8);
    assert_eq!(watch.tell(100), None);
    assert_eq!(watch.pending.due(), None);
}

#[test]
fn nothing_is_told_before_its_transaction_is_complete() {
    let mut watch = Watch::new(Interest::Nftables);
    watch.edit(0, 7, GONE_TABLE, ("kube-proxy", ""), &[]);
    watch.end(0, 8, "nft");
    assert_eq!(watch.tell(5000), None);
    watch.end(5000, 7, "nft");
    assert!(watch.tell(5100).is_some());
}

#[test]
fn loss_and_too_many_changes_mean_look_at_everything() {
    let mut watch = Watch::new(Interest::Nftables);
    watch.pending.miss(watch.at(0));
    assert_eq!(watch.tell(100), Some(RuleEvent::Missed));
    for port in 1..=u32::try_from(MOST).unwrap() + 1 {
        watch.edit(200, port, NEW_ELEMENT, ("kube-proxy", "service-ips"), &[]);
        watch.end(200, port, "nft");
    }
    assert_eq!(watch.tell(300), Some(RuleEvent::Missed));
}

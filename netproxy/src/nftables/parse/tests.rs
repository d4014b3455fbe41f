use proptest::prelude::*;

use super::*;

fn declared(without: Option<SetName>) -> String {
    let mut text = String::from("table ip kube-proxy {\n\tcomment \"rules for kube-proxy\"\n");
    for set in SetName::ALL.into_iter().filter(|set| Some(*set) != without) {
        let kind = set_type(set, IpFamily::V4);
        text += &format!("\tmap {set} {{\n\t\t{kind}\n\t\tcomment \"what it is\"\n\t}}\n\n");
    }
    text
}

fn with(extra: &str) -> Result<NftState, ForeignTable> {
    parse_table(&format!("{}{extra}}}\n", declared(None)), IpFamily::V4)
}

/// The table with these elements in one of its sets.
fn filled(set: SetName, elements: &str) -> Result<NftState, ForeignTable> {
    let kind = set_type(set, IpFamily::V4);
    let text = declared(Some(set));
    let set = format!("\tmap {set} {{\n\t\t{kind}\n\t\telements = {{ {elements} }}\n\t}}\n");
    parse_table(&format!("{text}{set}}}\n"), IpFamily::V4)
}

#[test]
fn empty_table_of_ours_is_empty() {
    assert_eq!(with("").unwrap(), NftState::empty(IpFamily::V4));
}

#[test]
fn elements_may_span_lines() {
    let elements =
        "10.0.0.1 . tcp . 80 comment \"a/b\" : drop,\n\t\t\t     10.0.0.2 . udp . 53 : goto x";
    let state = filled(SetName::ServiceIps, elements).unwrap();
    assert_eq!(state.sets[&SetName::ServiceIps].len(), 2);
    let front = |address: &str, protocol, port| {
        Key::Front(Front { address: address.parse().unwrap(), protocol, port })
    };
    let first = state.entry(SetName::ServiceIps, &front("10.0.0.1", Protocol::Tcp, 80)).unwrap();
    assert_eq!((&first.value, first.comment.as_deref()), (&Value::Drop, Some("a/b")));
    let second = state.entry(SetName::ServiceIps, &front("10.0.0.2", Protocol::Udp, 53)).unwrap();
    assert_eq!((&second.value, &second.comment), (&Value::Goto("x".into()), &None));
}

#[test]
fn what_the_kernel_remembers_is_left_out() {
    let elements = "10.0.0.1 . 8001:0 timeout 3h expires 2h59m59s : 8001:5";
    assert_eq!(filled(SetName::Affinity, elements).unwrap(), NftState::empty(IpFamily::V4));
}

#[test]
fn anything_else_is_foreign() {
    for (extra, found) in [
        ("\tset mine {\n\t\ttype ipv4_addr\n\t}\n", "mine"),
        ("\tchain c {\n\t\tcounter packets 0 bytes 0\n\t}\n", "counter packets 0 bytes 0"),
        (
            "\tchain c {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t}\n",
            "type nat hook prerouting priority dstnat; policy accept;",
        ),
        ("\tflowtable f {\n\t}\n", "flowtable f {"),
    ] {
        assert_eq!(with(extra).unwrap_err().found.as_ref(), found);
    }
    let missing = parse_table(&format!("{}}}", declared(Some(SetName::Affinity))), IpFamily::V4);
    assert_eq!(missing.unwrap_err().found.as_ref(), "no affinity");
    let other_family = parse_table(&format!("{}}}", declared(None)), IpFamily::V6);
    assert!(other_family.is_err());
    for broken in [
        "10.0.0.1 . tcp",
        "10.0.0.1 . tcp . 99999 : drop",
        "x . tcp . 80 : drop",
        "10.0.0.1 . tcp . 80",
    ] {
        assert!(filled(SetName::ServiceIps, broken).is_err(), "{broken}");
    }
}

#[test]
fn cut_listing_is_foreign_or_read_as_far_as_it_goes() {
    let whole = format!("{}\tchain c {{\n\t\tdrop\n\t}}\n}}\n", declared(None));
    for end in 0..whole.len() {
        let _ = parse_table(&whole[..end], IpFamily::V4);
    }
    let open = "table ip kube-proxy {\n\tset cluster-ips {\n\t\telements = { 10.0.0.1,";
    assert!(parse_table(open, IpFamily::V4).is_err());
}

proptest! {
    #[test]
    fn no_listing_is_too_strange(text in "[a-z0-9@:.,{}\"\n\t -]{0,200}") {
        let text = format!("table ip kube-proxy {{\n{text}");
        prop_assert!(parse_table(&text, IpFamily::V4).is_err());
    }
}

use super::*;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn ips_are_chosen_in_upstreams_order() {
    let host = ips(&["192.0.2.10", "2001:db8::10", "198.51.100.7"]);
    /// Case, node name, configured, resolved, chosen.
    type Row<'a> =
        (&'a str, &'a str, &'a [&'a str], &'a [&'a str], Result<Vec<&'a str>, AddressError>);
    let table: [Row<'_>; 11] = [
        ("default route", "node-1", &[], &[], Ok(vec!["192.0.2.10"])),
        ("configured", "node-1", &["198.51.100.7"], &[], Ok(vec!["198.51.100.7"])),
        (
            "dual stack keeps its order",
            "node-1",
            &["2001:db8::10", "192.0.2.10"],
            &[],
            Ok(vec!["2001:db8::10", "192.0.2.10"]),
        ),
        (
            "configured but absent",
            "node-1",
            &["203.0.113.1"],
            &[],
            Err(AddressError::NotOnHost("203.0.113.1".parse().unwrap())),
        ),
        (
            "configured but loopback",
            "node-1",
            &["127.0.0.1"],
            &[],
            Err(AddressError::Unusable("127.0.0.1".parse().unwrap())),
        ),
        ("family asked for", "node-1", &["::"], &[], Ok(vec!["2001:db8::10"])),
        (
            "family asked for of the resolved",
            "node-1",
            &["::"],
            &["198.51.100.7", "2001:db8::10"],
            Ok(vec!["2001:db8::10"]),
        ),
        ("name is an address", "198.51.100.7", &[], &[], Ok(vec!["198.51.100.7"])),
        (
            "resolved before default route",
            "node-1",
            &[],
            &["198.51.100.7"],
            Ok(vec!["198.51.100.7"]),
        ),
        (
            "resolved to loopback is skipped",
            "node-1",
            &[],
            &["127.0.1.1", "2001:db8::10"],
            Ok(vec!["2001:db8::10"]),
        ),
        (
            "resolved to another machine is skipped",
            "node-1",
            &[],
            &["203.0.113.1"],
            Ok(vec!["192.0.2.10"]),
        ),
    ];
    for (case, node_name, configured, resolved, expected) in table {
        let (configured, resolved) = (ips(configured), ips(resolved));
        let candidates =
            Candidates { node_name, configured: &configured, host: &host, resolved: &resolved };
        assert_eq!(choose_ips(&candidates), expected.map(|texts| ips(&texts)), "{case}");
    }
}

#[test]
fn machine_without_addresses_is_an_error() {
    let candidates = Candidates { node_name: "n", configured: &[], host: &[], resolved: &[] };
    assert_eq!(choose_ips(&candidates), Err(AddressError::NoneFound));
}

#[test]
fn host_name_comes_last() {
    let addresses = node_addresses(&ips(&["192.0.2.10", "2001:db8::10"]), "node-1");
    let shown: Vec<_> = addresses.iter().map(|a| (a.type_.as_str(), a.address.as_str())).collect();
    assert_eq!(
        shown,
        [("InternalIP", "192.0.2.10"), ("InternalIP", "2001:db8::10"), ("Hostname", "node-1")]
    );
    assert_eq!(published_ips(&addresses), ips(&["192.0.2.10", "2001:db8::10"]));
}

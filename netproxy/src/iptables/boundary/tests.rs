use super::Version;

#[test]
fn version_is_found_in_the_line_of_every_flavour() {
    let cases = [
        ("iptables v1.8.9 (nf_tables)", Some((1, 8, 9))),
        ("ip6tables v1.8.11 (legacy)\n", Some((1, 8, 11))),
        ("iptables v1.6.2", Some((1, 6, 2))),
        ("iptables v2.0", Some((2, 0, 0))),
        ("something else", None),
    ];
    for (line, expected) in cases {
        let found = Version::from_line(line).map(|v| (v.major, v.minor, v.patch));
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn random_fully_came_with_1_6_2() {
    for (line, has) in [("x v1.6.1", false), ("x v1.6.2", true), ("x v1.8.0", true)] {
        assert_eq!(Version::from_line(line).unwrap().has_random_fully(), has, "{line}");
    }
}

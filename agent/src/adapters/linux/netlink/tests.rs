use super::*;

#[test]
fn default_route_comes_first_and_unreachable_addresses_are_left_out() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let interfaces = Interfaces {
        up: vec![1, 2, 3],
        addresses: vec![
            (1, ip("127.0.0.1")),
            (2, ip("10.0.0.2")),
            (2, ip("fe80::1")),
            (3, ip("2001:db8::3")),
            (3, ip("192.168.0.3")),
            (3, ip("169.254.1.1")),
            (4, ip("10.9.9.9")),
        ],
        default_routes: vec![(2, 500), (3, 100)],
    };
    assert_eq!(
        usable_addresses(&interfaces),
        [ip("192.168.0.3"), ip("2001:db8::3"), ip("10.0.0.2")]
    );
}

#[test]
fn machine_without_routes_still_has_addresses() {
    let interfaces = Interfaces {
        up: vec![5, 2],
        addresses: vec![(5, "10.0.0.5".parse().unwrap()), (2, "10.0.0.2".parse().unwrap())],
        default_routes: vec![],
    };
    assert_eq!(usable_addresses(&interfaces).len(), 2);
}

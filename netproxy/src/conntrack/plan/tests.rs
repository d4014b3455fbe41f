use std::net::{IpAddr, SocketAddr};

use super::super::Flow;
use super::{StaleTest, UdpTargets};

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn flow(destination: &str, answered_by: &str) -> Flow {
    Flow {
        source: socket("10.0.0.9:4000"),
        destination: socket(destination),
        answered_by: socket(answered_by),
    }
}

fn dns() -> UdpTargets {
    UdpTargets {
        addresses: vec![socket("10.96.0.10:53")],
        node_port: Some(30053),
        endpoints: [socket("10.0.0.1:5353")].into(),
    }
}

#[test]
fn only_flows_to_known_ports_that_no_endpoint_answers_are_stale() {
    let node: IpAddr = "192.168.0.2".parse().unwrap();
    let cases = [
        ("live endpoint", "10.96.0.10:53", "10.0.0.1:5353", false),
        ("gone endpoint", "10.96.0.10:53", "10.0.0.2:5353", true),
        ("same endpoint, old port", "10.96.0.10:53", "10.0.0.1:53", true),
        ("never translated", "10.96.0.10:53", "10.96.0.10:53", true),
        ("other port of the address", "10.96.0.10:54", "10.0.0.2:54", false),
        ("node port, gone endpoint", "192.168.0.2:30053", "10.0.0.2:5353", true),
        ("node port, live endpoint", "192.168.0.2:30053", "10.0.0.1:5353", false),
        ("that port on a foreign address", "8.8.8.8:30053", "8.8.8.8:30053", false),
        ("somebody else", "10.96.0.99:53", "10.0.0.2:5353", false),
    ];
    for (title, destination, answered_by, stale) in cases {
        let dns = dns();
        let test = StaleTest::new([&dns], &[node]);
        assert_eq!(test.is_stale(&flow(destination, answered_by)), stale, "{title}");
    }
}

#[test]
fn without_endpoints_only_translated_flows_are_stale() {
    let empty = UdpTargets { endpoints: [].into(), ..dns() };
    let test = StaleTest::new([&empty], &[]);
    assert!(!test.is_stale(&flow("10.96.0.10:53", "10.96.0.10:53")));
    assert!(test.is_stale(&flow("10.96.0.10:53", "10.0.0.1:5353")));
}

#[test]
fn node_ports_on_loopback_count_only_where_they_answer() {
    let dns = dns();
    let [node, loopback]: [IpAddr; 2] = ["192.168.0.2", "127.0.0.1"].map(|ip| ip.parse().unwrap());
    let gone = flow("127.0.0.5:30053", "10.0.0.2:5353");
    assert!(StaleTest::new([&dns], &[node, loopback]).is_stale(&gone));
    assert!(!StaleTest::new([&dns], &[node]).is_stale(&gone));
}

#[test]
fn without_udp_ports_nothing_can_be_stale() {
    assert!(StaleTest::new([], &[]).is_empty());
    assert!(!StaleTest::new([&dns()], &[]).is_empty());
}

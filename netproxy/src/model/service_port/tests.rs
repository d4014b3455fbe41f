use super::{service_ports, unreadable};
use crate::config::IpFamily;
use crate::input::{Parsed, Protocol, ServiceType, TrafficPolicy};
use crate::testing::{ServiceBuilder, service};

fn web() -> ServiceBuilder {
    service("shop/web").cluster_ip("10.96.0.1").port("http", Protocol::Tcp, 80)
}

fn count(service: ServiceBuilder) -> usize {
    service_ports(&service.build(), IpFamily::V4).len()
}

#[test]
fn services_without_a_cluster_address_of_ours_are_skipped() {
    assert_eq!(count(web()), 1);
    assert_eq!(count(service("a/headless").port("", Protocol::Tcp, 80)), 0);
    assert_eq!(count(web().with(|s| s.spec.service_type = ServiceType::ExternalName)), 0);
    assert_eq!(count(web().label("service.kubernetes.io/service-proxy-name", "")), 0);
    // This label is for slices.
    assert_eq!(count(web().label("service.kubernetes.io/headless", "")), 1);
    let none = |s: &mut crate::input::Service| {
        s.spec.cluster_ips = vec![Parsed::Invalid("None".into())];
    };
    assert_eq!(count(web().with(none)), 0);
    assert!(unreadable(&web().with(none).build()).is_empty());
    assert!(service_ports(&web().build(), IpFamily::V6).is_empty());
}

#[test]
fn one_port_number_with_three_protocols_is_three_service_ports() {
    let dns = service("a/dns")
        .cluster_ip("10.96.0.1")
        .port("tcp", Protocol::Tcp, 53)
        .port("udp", Protocol::Udp, 53)
        .port("sctp", Protocol::Sctp, 53);
    assert_eq!(count(dns), 3);
}

#[test]
fn every_family_gets_its_own_addresses() {
    let service = web()
        .cluster_ip("fd00::1")
        .external_ip("192.0.2.1")
        .external_ip("2001:db8::1")
        .load_balancer_ip("192.0.2.2")
        .source_range("192.0.2.0/24")
        .source_range("2001:db8::/32")
        .build();
    for (family, texts) in [
        (IpFamily::V4, ["10.96.0.1", "192.0.2.1", "192.0.2.0/24"]),
        (IpFamily::V6, ["fd00::1", "2001:db8::1", "2001:db8::/32"]),
    ] {
        let port = &service_ports(&service, family)[0];
        let found = [
            port.cluster_ip.to_string(),
            port.external_ips[0].to_string(),
            port.source_ranges[0].to_string(),
        ];
        assert_eq!(found, texts, "{family}");
    }
}

#[test]
fn local_external_policy_needs_a_way_in_from_outside() {
    let policy = |service: ServiceBuilder| {
        service_ports(&service.external_local().build(), IpFamily::V4)[0].external_policy
    };
    assert_eq!(policy(web()), TrafficPolicy::Cluster);
    assert_eq!(policy(web().node_port(30000)), TrafficPolicy::Local);
    assert_eq!(policy(web().external_ip("192.0.2.1")), TrafficPolicy::Local);
}

#[test]
fn health_check_port_is_for_local_load_balancers() {
    let port = |service: ServiceBuilder| {
        service_ports(&service.health_check(30000).build(), IpFamily::V4)[0].health_check_node_port
    };
    let balancer = || web().load_balancer_ip("192.0.2.1");
    assert_eq!(port(balancer().external_local()), Some(30000));
    assert_eq!(port(balancer()), None);
    assert_eq!(port(web().node_port(30001).external_local()), None);
}

#[test]
fn proxy_mode_and_missing_addresses_are_no_load_balancer_addresses() {
    let mut service = web().load_balancer_ip("192.0.2.1").load_balancer_ip("192.0.2.2").build();
    service.status.load_balancer.ingress[0].ip_mode = Some("Proxy".into());
    service.status.load_balancer.ingress[1].ip_mode = Some("VIP".into());
    service.status.load_balancer.ingress.push(crate::input::IngressIp::default());
    let ips = &service_ports(&service, IpFamily::V4)[0].load_balancer_ips;
    assert_eq!(*ips, ["192.0.2.2".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn affinity_has_three_hours_by_default() {
    let seconds =
        |service: ServiceBuilder| service_ports(&service.build(), IpFamily::V4)[0].affinity_seconds;
    assert_eq!(seconds(web()), None);
    assert_eq!(seconds(web().affinity(5)), Some(5));
    let unset = |s: &mut crate::input::Service| {
        s.spec.session_affinity_config.client_ip.timeout_seconds = None;
    };
    assert_eq!(seconds(web().affinity(5).with(unset)), Some(10_800));
}

#[test]
fn unreadable_values_are_told_and_the_others_used() {
    let service = web()
        .external_ip("192.0.2.1")
        .with(|s| s.spec.external_ips.push(Parsed::Invalid("x".into())))
        .with(|s| s.spec.load_balancer_source_ranges.push(Parsed::Invalid("y".into())))
        .build();
    assert_eq!(service_ports(&service, IpFamily::V4)[0].external_ips.len(), 1);
    let told: Vec<_> = unreadable(&service).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["x", "y"]);
}

use std::net::IpAddr;

use super::{EndpointSlice, Parsed, Protocol, Service, TrafficPolicy, parse_cidr, parse_ip};

#[test]
fn leading_zeros_are_decimal_and_odd_text_is_no_address() {
    let cases: [(&str, Option<&str>); 9] = [
        ("10.0.0.1", Some("10.0.0.1")),
        ("010.000.0.08", Some("10.0.0.8")),
        ("::ffff:1.2.3.4", Some("1.2.3.4")),
        ("fd00::1", Some("fd00::1")),
        ("256.0.0.1", None),
        ("1.2.3", None),
        ("1.2.3.4.5", None),
        ("None", None),
        ("", None),
    ];
    for (text, expected) in cases {
        let expected: Option<IpAddr> = expected.map(|address| address.parse().unwrap());
        assert_eq!(parse_ip(text), expected, "{text}");
    }
}

#[test]
fn networks_are_trimmed_and_cut_to_their_prefix() {
    assert_eq!(parse_cidr(" 203.0.113.7/25").unwrap().to_string(), "203.0.113.0/25");
    assert_eq!(parse_cidr("fd00::1/64").unwrap().to_string(), "fd00::/64");
    for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "/8"] {
        assert_eq!(parse_cidr(text), None, "{text}");
    }
}

#[test]
fn null_lists_count_as_absent() {
    let service: Service = serde_json::from_str(
        r#"{"metadata":{"name":"a","namespace":"b","labels":null,"annotations":null},
            "spec":{"type":null,"clusterIPs":null,"ports":null,"externalIPs":null,
                    "loadBalancerSourceRanges":null,"sessionAffinityConfig":null},
            "status":{"loadBalancer":{"ingress":null}}}"#,
    )
    .unwrap();
    assert_eq!(service.metadata.key().to_string(), "b/a");
    assert!(service.spec.ports.is_empty());

    let slice: EndpointSlice = serde_json::from_str(
        r#"{"metadata":{"name":"a"},"addressType":"IPv4","ports":null,"endpoints":[
            {"addresses":null,"conditions":null,"hints":{"forZones":null}}]}"#,
    )
    .unwrap();
    assert_eq!(slice.endpoints[0].address, None);
}

#[test]
fn service_is_read_from_the_api_shape() {
    let service: Service = serde_json::from_str(
        r#"{"apiVersion":"v1","kind":"Service",
            "metadata":{"name":"web","namespace":"shop","uid":"u","managedFields":[{"x":1}]},
            "spec":{"type":"NodePort","clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9","fd00::9"],
                "ports":[{"name":"dns","protocol":"UDP","port":53,"targetPort":"dns","nodePort":30053}],
                "externalTrafficPolicy":"Local","internalTrafficPolicy":"Cluster",
                "sessionAffinity":"ClientIP",
                "sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10}}}}"#,
    )
    .unwrap();
    let port = &service.spec.ports[0];
    assert_eq!(port.protocol.valid(), Some(&Protocol::Udp));
    assert_eq!((port.port, port.node_port), (53, 30053));
    assert_eq!(service.spec.external_traffic_policy, TrafficPolicy::Local);
    assert_eq!(service.spec.session_affinity_config.client_ip.timeout_seconds, Some(10));
    assert_eq!(service.spec.cluster_ips.len(), 2);
}

#[test]
fn one_bad_endpoint_address_leaves_the_others_readable() {
    let slice: EndpointSlice = serde_json::from_str(
        r#"{"addressType":"IPv4","endpoints":[
            {"addresses":["10.0.0.1","10.0.0.2"]},{"addresses":["not-an-address"]},{"addresses":[]}]}"#,
    )
    .unwrap();
    let read: Vec<_> = slice.endpoints.iter().map(|endpoint| &endpoint.address).collect();
    assert_eq!(*read[0], Some(Parsed::Valid("10.0.0.1".parse().unwrap())));
    assert_eq!(*read[1], Some(Parsed::Invalid("not-an-address".into())));
    assert_eq!(*read[2], None);
}

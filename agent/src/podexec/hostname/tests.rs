use super::*;
use crate::podexec::fixtures::pod;
use expect_test::expect;
use serde_json::json;

#[test]
fn names_come_from_spec_or_pod_name() {
    let long = "a".repeat(62) + ".b";
    for (spec, hostname, domain) in [
        (json!({}), "web-0", ""),
        (json!({"hostname": "h"}), "h", ""),
        (json!({"hostname": "h", "subdomain": "sub"}), "h", "sub.ns.svc.cluster.local"),
        (json!({"subdomain": "sub"}), "web-0", "sub.ns.svc.cluster.local"),
        (json!({"hostnameOverride": "very.own", "subdomain": "sub"}), "very.own", ""),
    ] {
        let names = pod_names(&pod(json!({"spec": spec})), "cluster.local").unwrap();
        assert_eq!((names.hostname.as_str(), names.domain.as_str()), (hostname, domain), "{spec}");
    }
    let cut = pod_names(&pod(json!({"metadata": {"name": long}})), "cluster.local").unwrap();
    assert_eq!(cut.hostname, "a".repeat(62));
}

#[test]
fn bad_labels_are_refused_by_field() {
    let bad = pod(json!({"spec": {"subdomain": "UP"}}));
    assert_eq!(
        pod_names(&bad, "x").unwrap_err().to_string(),
        "pod Subdomain \"UP\" is not a valid DNS label"
    );
}

#[test]
fn fqdn_is_the_kernel_name_only_when_asked_and_short_enough() {
    let names = PodNames { hostname: "h".into(), domain: "s.ns.svc.cluster.local".into() };
    assert_eq!(kernel_hostname(&names, false).unwrap(), "h");
    assert_eq!(kernel_hostname(&names, true).unwrap(), "h.s.ns.svc.cluster.local");
    let alone = PodNames { hostname: "h".into(), domain: String::new() };
    assert_eq!(kernel_hostname(&alone, true).unwrap(), "h");
    let long = PodNames { hostname: "h".repeat(60), domain: "cluster.local".into() };
    assert!(kernel_hostname(&long, true).unwrap_err().to_string().contains("74 characters"));
}

#[test]
fn hosts_file_is_the_one_scripts_expect() {
    let names = PodNames { hostname: "h".into(), domain: "s.ns.svc.cluster.local".into() };
    let aliases: Vec<api::HostAlias> =
        serde_json::from_value(json!([{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])).unwrap();
    let ips = ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
    expect![[r#"
        # Kubernetes-managed hosts file.
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        fe00::0	ip6-localnet
        fe00::0	ip6-mcastprefix
        fe00::1	ip6-allnodes
        fe00::2	ip6-allrouters
        10.0.0.5	h.s.ns.svc.cluster.local	h
        fd00::5	h.s.ns.svc.cluster.local	h

        # Entries added by HostAliases.
        1.2.3.4	a	b
    "#]]
    .assert_eq(&hosts_file(&ips, &names, &aliases));
    let alone = PodNames { hostname: "h".into(), domain: String::new() };
    assert!(hosts_file(&ips[..1], &alone, &[]).ends_with("\n10.0.0.5\th\n"));
}

#[test]
fn host_network_hosts_file_starts_from_the_nodes() {
    assert_eq!(
        host_network_hosts_file("127.0.0.1 localhost\n", &[]),
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"
    );
}

use super::*;
use crate::podexec::fixtures::pod;
use serde_json::json;

fn cluster() -> DnsConfig {
    DnsConfig {
        cluster_dns: vec!["10.96.0.10".parse().unwrap()],
        cluster_domain: "cluster.local".into(),
        resolv_conf: None,
    }
}

fn host() -> ResolvConf {
    parse_resolv_conf(
        "nameserver 192.0.2.1\nsearch corp.example svc.cluster.local\noptions rotate\n",
    )
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn resolv_conf_is_read_as_resolvers_do() {
    let text = "# c\n; c\n nameserver 1.1.1.1 # x\nnameserver\nnameserver ::1\n\
                search old.example\nsearch a.example. . b.example\n\
                options ndots:1 rotate\noptions ndots:3\nsortlist x\n";
    assert_eq!(
        parse_resolv_conf(text),
        ResolvConf {
            servers: texts(&["1.1.1.1", "::1"]),
            searches: texts(&["a.example", "b.example"]),
            options: texts(&["ndots:3", "rotate"]),
        }
    );
    assert_eq!(parse_resolv_conf(""), ResolvConf::default());
}

#[test]
fn policy_decides_whose_dns_a_pod_gets() {
    let of_cluster = (
        texts(&["10.96.0.10"]),
        texts(&["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"]),
        texts(&["ndots:5"]),
    );
    let of_host =
        (texts(&["192.0.2.1"]), texts(&["corp.example", "svc.cluster.local"]), texts(&["rotate"]));
    let empty = (vec![], vec![], vec![]);
    for (spec, expected) in [
        (json!({"dnsPolicy": "ClusterFirst"}), &of_cluster),
        (json!({}), &of_cluster),
        (json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), &of_host),
        (json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), &of_cluster),
        (json!({"dnsPolicy": "Default"}), &of_host),
        (json!({"dnsPolicy": "None"}), &empty),
    ] {
        let dns = pod_dns(&pod(json!({"spec": spec})), &cluster(), Some(&host()), &[]);
        let ResolvConf { servers, searches, options } = dns.resolv;
        assert_eq!(&(servers, searches, options), expected, "{spec}");
        assert_eq!(dns.warnings, vec![], "{spec}");
    }
}

#[test]
fn missing_cluster_dns_falls_back_to_host_and_says_so() {
    let none = DnsConfig::default();
    let dns = pod_dns(&pod(json!({})), &none, Some(&host()), &[]);
    assert_eq!(dns.resolv, host());
    assert_eq!(dns.warnings[0].reason(), "MissingClusterDNS");
    assert!(dns.warnings[0].message(&pod(json!({}))).starts_with("pod: \"web-0_ns(uid-1)\". "));
}

#[test]
fn switched_off_host_file_means_loopback() {
    let default = pod(json!({"spec": {"dnsPolicy": "Default"}}));
    let v6 = "fd00::1".parse().unwrap();
    assert_eq!(pod_dns(&default, &cluster(), None, &[]).resolv.servers, texts(&["127.0.0.1"]));
    let dns = pod_dns(&default, &cluster(), None, &[v6]);
    assert_eq!(dns.resolv.servers, texts(&["::1"]));
    assert_eq!(dns.resolv.searches, texts(&["."]));
}

#[test]
fn dns_config_of_the_pod_is_merged() {
    let own = pod(json!({"spec": {"dnsConfig": {
        "nameservers": ["1.1.1.1", "10.96.0.10"],
        "searches": ["cluster.local", "my.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }}}));
    let dns = pod_dns(&own, &cluster(), None, &[]).resolv;
    assert_eq!(dns.servers, texts(&["10.96.0.10", "1.1.1.1"]));
    assert_eq!(
        dns.searches,
        texts(&["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "my.example"])
    );
    assert_eq!(dns.options, texts(&["ndots:2", "edns0"]));
}

#[test]
fn limits_cut_and_warn() {
    let long = |count: usize, len: usize| -> Vec<String> {
        (0..count).map(|index| format!("{index:0>len$}")).collect()
    };
    // case, name servers, search paths; kept name servers, kept search paths
    for (case, servers, searches, kept_servers, kept_searches) in [
        ("all fits", 3, long(32, 10), 3, 32),
        ("a fourth name server", 4, long(1, 10), 3, 1),
        ("33 paths", 0, long(33, 10), 0, 32),
        ("2048 characters exactly", 0, long(8, 253).into_iter().chain(long(1, 16)).collect(), 0, 9),
        ("2049 characters", 0, long(8, 253).into_iter().chain(long(1, 17)).collect(), 0, 8),
        ("one path of 254", 0, long(1, 254).into_iter().chain(long(1, 5)).collect(), 0, 1),
    ] {
        let names: Vec<String> = (0..servers).map(|n| format!("192.0.2.{n}")).collect();
        let count = searches.len();
        let own = pod(json!({"spec": {"dnsPolicy": "None",
            "dnsConfig": {"nameservers": names, "searches": searches}}}));
        let dns = pod_dns(&own, &cluster(), None, &[]);
        assert_eq!(dns.resolv.servers.len(), kept_servers, "{case}");
        assert_eq!(dns.resolv.searches.len(), kept_searches, "{case}");
        let cuts = usize::from(servers > kept_servers) + usize::from(count > kept_searches);
        assert_eq!(dns.warnings.len(), cuts, "{case}");
    }
}

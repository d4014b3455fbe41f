use super::{ServiceChains, endpoint_chain, is_owned};
use crate::input::{ObjectKey, Protocol};
use crate::model::service_port::ServicePortName;
use crate::rules::ruleset::{ChainKey, Table};

fn port(namespace: &str, name: &str, port: &str, protocol: Protocol) -> ServicePortName {
    ServicePortName { service: ObjectKey::new(namespace, name), port: port.into(), protocol }
}

#[test]
fn service_chain_names_are_those_of_kube_proxy() {
    let cases = [
        (port("default", "crd-array-watcher", "", Protocol::Tcp), "HW2XM7FRY33HEVYM"),
        (port("kube-system", "kube-dns", "dns", Protocol::Udp), "TCOU7JCQXEZGVUNU"),
        (port("kube-system", "kube-dns", "dns-tcp", Protocol::Tcp), "ERIFXISQEP7F7OF4"),
        (port("kube-system", "kube-dns", "metrics", Protocol::Tcp), "JD5MR3NA4I4DYORP"),
        (port("default", "kubernetes", "https", Protocol::Tcp), "NPX46M4PTMTKRN6Y"),
        (port("ns2", "svc2", "dns-sctp", Protocol::Sctp), "L76IW5RJFPV7YBZO"),
    ];
    for (name, hash) in cases {
        let chains = ServiceChains::of(&name);
        assert_eq!(*chains.cluster, format!("KUBE-SVC-{hash}"), "{name}");
        assert_eq!(*chains.local, format!("KUBE-SVL-{hash}"), "{name}");
        assert_eq!(*chains.external, format!("KUBE-EXT-{hash}"), "{name}");
        assert_eq!(*chains.firewall, format!("KUBE-FW-{hash}"), "{name}");
    }
}

#[test]
fn endpoint_chain_names_are_those_of_kube_proxy() {
    let watcher = port("default", "crd-array-watcher", "", Protocol::Tcp);
    let dns = port("kube-system", "kube-dns", "dns", Protocol::Udp);
    let svc1 = port("ns1", "svc1", "p80", Protocol::Tcp);
    let cases = [
        (&watcher, "10.244.0.35:8080", "KUBE-SEP-PLQTWCYKKRRVAV4U"),
        (&dns, "10.244.0.2:53", "KUBE-SEP-YIL6JZP7A3QYXJU2"),
        (&svc1, "10.180.0.1:80", "KUBE-SEP-SXIVWICOYRO3J4NJ"),
        (&svc1, "[fd00:10:180::1]:80", "KUBE-SEP-OGYCNMB4EMRUSJ6N"),
    ];
    for (name, endpoint, chain) in cases {
        assert_eq!(&*endpoint_chain(name, endpoint), chain);
    }
}

#[test]
fn only_chains_of_the_proxy_are_owned() {
    let cases = [
        (Table::Nat, "KUBE-SEP-PLQTWCYKKRRVAV4U", true),
        (Table::Filter, "KUBE-SEP-PLQTWCYKKRRVAV4U", false),
        (Table::Nat, "KUBE-SERVICES", true),
        (Table::Filter, "KUBE-FIREWALL", false),
        (Table::Mangle, "KUBE-KUBELET-CANARY", false),
        (Table::Mangle, "KUBE-IPTABLES-HINT", false),
        (Table::Nat, "POSTROUTING", false),
        (Table::Nat, "CNI-HOSTPORT-DNAT", false),
    ];
    for (table, name, owned) in cases {
        assert_eq!(is_owned(&ChainKey::new(table, name)), owned, "{table} {name}");
    }
}

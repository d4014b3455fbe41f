//! The proxy on the real iptables, in network namespaces made for the test.
//!
//! Needs root. A namespace lives as long as the thread that made it, so nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kernel {
    pub mod network;
    pub mod proxy;
}

use std::net::SocketAddr;

use kernel::network::{Network, in_namespace, run};
use kernel::proxy::RunningProxy;
use netproxy::config::IpFamily;
use netproxy::input::Protocol;
use netproxy::iptables::IptablesCommand;
use netproxy::iptables::cleanup::cleanup;
use netproxy::testing::{ServiceBuilder, SliceBuilder, service, slice};

fn web() -> ServiceBuilder {
    service("shop/web")
        .cluster_ip("10.96.0.10")
        .cluster_ip("fd00:96::10")
        .port("", Protocol::Tcp, 80)
        .node_port(30080)
}

fn dns() -> ServiceBuilder {
    service("kube-system/kube-dns").cluster_ip("10.96.0.53").port("dns", Protocol::Udp, 53).port(
        "metrics",
        Protocol::Tcp,
        9153,
    )
}

fn watcher() -> [netproxy::ServiceChange; 2] {
    let service = service("default/crd-array-watcher").cluster_ip("10.96.10.1");
    let slice = slice("default/crd-array-watcher").port("", Protocol::Tcp, 8080);
    [service.port("", Protocol::Tcp, 443).applied(), slice.endpoint("10.244.0.35").applied()]
}

fn web_slice(address: &str) -> SliceBuilder {
    let family = if address.contains(':') { "v6" } else { "v4" };
    slice("shop/web").named(family).port("", Protocol::Tcp, 8080).endpoint(address)
}

fn dns_slice(address: &str) -> SliceBuilder {
    slice("kube-system/kube-dns")
        .port("dns", Protocol::Udp, 8080)
        .port("metrics", Protocol::Tcp, 9153)
        .endpoint(address)
}

#[test]
fn rules_have_their_known_names_and_only_differences_are_written() {
    in_namespace(async || {
        let mut proxy = RunningProxy::start(&[]).await;
        let mut changes = watcher().to_vec();
        changes.extend([dns().applied(), dns_slice("10.244.0.2").applied()]);
        changes.push(
            service("x/affine")
                .cluster_ip("10.96.0.77")
                .port("", Protocol::Sctp, 7)
                .affinity(60)
                .node_port(30077)
                .external_local()
                .external_ip("192.0.2.1")
                .applied(),
        );
        changes.push(
            slice("x/affine")
                .port("", Protocol::Sctp, 7)
                .endpoint("10.244.0.3")
                .endpoint("10.244.0.4")
                .local("10.244.0.5")
                .applied(),
        );
        changes.push(
            service("x/empty")
                .cluster_ip("10.96.0.78")
                .cluster_ip("fd00:96::78")
                .port("", Protocol::Udp, 7)
                .node_port(30078)
                .applied(),
        );
        proxy.relist(changes.clone()).await;
        let nat = run("iptables-save", &["-t", "nat"]);
        for name in [
            "KUBE-SVC-HW2XM7FRY33HEVYM",
            "KUBE-SEP-PLQTWCYKKRRVAV4U",
            "KUBE-SVC-TCOU7JCQXEZGVUNU",
            "KUBE-SVC-JD5MR3NA4I4DYORP",
        ] {
            assert!(nat.contains(&format!(":{name} - ")), "{name} is missing:\n{nat}");
        }
        assert!(proxy.writes() > 0);

        proxy.relist(changes.clone()).await;
        let writes_before_restart = proxy.writes();
        let before = [run("iptables-save", &[]), run("ip6tables-save", &[])].map(without_counters);
        proxy.stop().await;

        let mut again = RunningProxy::start(&[]).await;
        again.relist(changes).await;
        assert_eq!(again.writes(), 0, "a restart must write nothing");
        let after = [run("iptables-save", &[]), run("ip6tables-save", &[])].map(without_counters);
        assert_eq!(before, after);
        assert!(writes_before_restart > 0);

        again.relist(watcher().to_vec()).await;
        let nat = run("iptables-save", &["-t", "nat"]);
        assert!(!nat.contains("TCOU7JCQXEZGVUNU"), "stale chains are left:\n{nat}");
        again.stop().await;
    });
}

fn without_counters(saved: String) -> String {
    let kept = saved.lines().filter(|line| !line.starts_with('#')).map(|line| {
        line.split_once(" [").filter(|_| line.starts_with(':')).map_or(line, |(chain, _)| chain)
    });
    kept.collect::<Vec<_>>().join("\n")
}

#[test]
fn flushed_rules_come_back_and_cleanup_leaves_nothing_of_ours() {
    in_namespace(async || {
        run("iptables", &["-t", "nat", "-N", "SOMEBODY-ELSE"]);
        run("iptables", &["-t", "nat", "-A", "PREROUTING", "-j", "SOMEBODY-ELSE"]);
        let mut proxy = RunningProxy::start(&[]).await;
        proxy.relist(watcher().to_vec()).await;
        for table in ["nat", "filter", "mangle"] {
            run("iptables", &["-t", table, "-F"]);
            run("iptables", &["-t", table, "-X"]);
        }
        // The proxy of the test looks every second.
        proxy.next_sync(IpFamily::V4).await;
        assert!(run("iptables-save", &[]).contains("KUBE-SVC-HW2XM7FRY33HEVYM"));
        run("iptables", &["-t", "nat", "-N", "SOMEBODY-ELSE"]);
        run("iptables", &["-t", "nat", "-A", "PREROUTING", "-j", "SOMEBODY-ELSE"]);
        proxy.stop().await;

        for family in [IpFamily::V4, IpFamily::V6] {
            let iptables = IptablesCommand::new(family);
            assert!(cleanup(&iptables, family).await.unwrap());
            assert!(!cleanup(&iptables, family).await.unwrap(), "nothing is left to clean");
        }
        let left = run("iptables-save", &[]) + &run("ip6tables-save", &[]);
        let ours: Vec<&str> =
            left.lines().filter(|l| l.contains("KUBE-") && !l.contains("KUBE-FIREWALL")).collect();
        assert!(ours.is_empty(), "{ours:?}");
        assert!(left.contains("SOMEBODY-ELSE"));
    });
}

#[test]
fn tcp_reaches_endpoints_with_the_right_source_address() {
    in_namespace(async || {
        let network = Network::build();
        let mut proxy = RunningProxy::start(&["10.0.0.0/16", "fd00:10::/64"]).await;
        let slices = [web_slice("10.0.2.2").applied(), web_slice("fd00:10::2:2").applied()];
        let mut changes = vec![web().applied()];
        changes.extend(slices);
        changes.push(
            service("shop/empty").cluster_ip("10.96.0.11").port("", Protocol::Tcp, 80).applied(),
        );
        proxy.relist(changes).await;

        let expect = |pod: &str, to: &str, from: &str| {
            let answer = network.pod(pod).ask_tcp(to.parse::<SocketAddr>().unwrap());
            assert_eq!(answer.as_deref(), Ok(format!("a {from}").as_str()), "{pod} to {to}");
        };
        expect("client", "10.96.0.10:80", "10.0.1.2");
        expect("client", "[fd00:96::10]:80", "fd00:10::1:2");
        // An endpoint that talks to itself must see the node instead of itself.
        expect("a", "10.96.0.10:80", "10.0.2.1");
        // Traffic from outside is masqueraded, so that answers come back this way.
        expect("client", "10.0.1.1:30080", "10.0.2.1");
        expect("b", "10.0.3.1:30080", "10.0.2.1");

        let refused = network.pod("client").ask_tcp("10.96.0.11:80".parse().unwrap());
        assert_eq!(refused, Err(std::io::ErrorKind::ConnectionRefused));
        proxy.stop().await;
    });
}

#[test]
fn udp_client_moves_on_when_its_endpoint_goes() {
    in_namespace(async || {
        let network = Network::build();
        let mut proxy = RunningProxy::start(&["10.0.0.0/16"]).await;
        proxy.relist(vec![dns().applied(), dns_slice("10.0.2.2").applied()]).await;
        let client = network.pod("client").udp_socket();
        let to: SocketAddr = "10.96.0.53:53".parse().unwrap();
        assert_eq!(client.ask(to).as_deref(), Ok("a 10.0.1.2"));

        // The same socket, so the same connection for the kernel.
        proxy.change(dns_slice("10.0.3.2").applied()).await;
        assert_eq!(client.ask(to).as_deref(), Ok("b 10.0.1.2"));

        // Without any endpoint the client is told, and it recovers as soon as there is one.
        proxy.change(slice("kube-system/kube-dns").applied()).await;
        assert_eq!(client.ask(to), Err(std::io::ErrorKind::ConnectionRefused));
        proxy.change(dns_slice("10.0.2.2").applied()).await;
        assert_eq!(client.ask(to).as_deref(), Ok("a 10.0.1.2"));
        proxy.stop().await;
    });
}

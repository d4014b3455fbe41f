//! The proxy as the machine has it, and somebody who changes its rules. In network namespaces made
//! for the test.
//!
//! Needs root. A namespace lives as long as the thread that made it, so nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kernel {
    #[allow(dead_code, reason = "there are no pods here")]
    pub mod network;
}

use std::time::Duration;

use kernel::network::{in_namespace, run};
use netproxy::config::{ProxyConfig, ProxyMode};
use netproxy::input::Protocol;
use netproxy::mode::{all_leftovers, detect};
use netproxy::testing::build::LOCAL_NODE;
use netproxy::testing::{node, service, slice};
use netproxy::{ObjectKind, ProxyStatus, ServiceChange};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Rules have to be back within so long.
const SOON: Duration = Duration::from_secs(2);
/// Longest wait for a proxy that starts.
const START: Duration = Duration::from_secs(30);

struct Proxy {
    _changes: mpsc::Sender<ServiceChange>,
    status: watch::Receiver<ProxyStatus>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), netproxy::ProxyError>>,
}

impl Proxy {
    /// With one service; never looks at its rules by itself.
    async fn start(mode: ProxyMode) -> Self {
        let mut config = ProxyConfig::new(LOCAL_NODE);
        config.sync_period = Duration::from_secs(3600);
        if mode == ProxyMode::Nftables {
            config = config.in_nftables_mode();
            config.sync_period = Duration::from_secs(3600);
        }
        let detected = detect(mode).await.unwrap();
        let (changes, received) = mpsc::channel(64);
        let (publish, status) = watch::channel(ProxyStatus::default());
        let stop = CancellationToken::new();
        let task =
            tokio::spawn(netproxy::run(config, received, detected.backends, publish, stop.clone()));
        let kinds = [ObjectKind::Node, ObjectKind::Services, ObjectKind::EndpointSlices];
        let web = service("shop/web").cluster_ip("10.96.0.10").port("", Protocol::Tcp, 80);
        let pods = slice("shop/web").port("", Protocol::Tcp, 8080).endpoint("10.0.1.5");
        let mut list: Vec<_> = kinds.map(ServiceChange::Restart).into();
        list.push(ServiceChange::NodeApplied(Box::new(node(&["192.168.0.2"]))));
        list.extend([web.applied(), pods.applied()]);
        list.extend(kinds.map(ServiceChange::Synced));
        for change in list {
            changes.send(change).await.unwrap();
        }
        Self { _changes: changes, status, stop, task }
    }

    /// Waits until that holds. It is looked at after each sync.
    async fn until(&mut self, limit: Duration, what: &str, holds: impl Fn() -> bool) {
        let held = async {
            while !holds() {
                self.status.changed().await.unwrap();
            }
        };
        timeout(limit, held).await.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"));
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn foreign(line: &str) {
    let (command, arguments) = line.split_once(' ').unwrap();
    run(command, &words(arguments));
}

fn nat() -> String {
    run("iptables-nft-save", &["-t", "nat"])
}

fn tables() -> String {
    run("nft", &["list", "tables"])
}

/// What is in our nftables table, without the counters that there are none of.
fn table() -> String {
    if !tables().contains("table ip kube-proxy\n") {
        return String::new();
    }
    run("nft", &["list", "table", "ip", "kube-proxy"])
}

#[test]
fn nftables_mode_replaces_the_other_mode_and_mends_its_table_at_once() {
    in_namespace(async || {
        for line in [
            "-N KUBE-SERVICES",
            "-N SOMEBODY-ELSE",
            "-A PREROUTING -j KUBE-SERVICES",
            "-A PREROUTING -j SOMEBODY-ELSE",
        ] {
            foreign(&format!("iptables-nft -t nat {line}"));
        }
        let mut proxy = Proxy::start(ProxyMode::Nftables).await;
        let live = || table().contains("10.96.0.10 . tcp . 80");
        proxy.until(START, "the service is live", live).await;
        // Removed after the rules are in, so before the next sync.
        let gone = || live() && !nat().contains("KUBE-");
        proxy.until(START, "leftovers of iptables mode are gone", gone).await;
        assert!(nat().contains("-A PREROUTING -j SOMEBODY-ELSE"));

        let whole = table();
        for line in [
            "nft delete table ip kube-proxy",
            "nft flush chain ip kube-proxy services",
            "nft delete element ip kube-proxy service-ips { 10.96.0.10 . tcp . 80 }",
            "nft add rule ip kube-proxy services drop",
            "nft flush ruleset",
        ] {
            foreign(line);
            assert_ne!(table(), whole, "{line} changed nothing");
            proxy.until(SOON, line, || table() == whole).await;
        }
        proxy.stop().await;
        assert_eq!(table(), whole, "rules stay when the proxy stops");

        foreign("iptables-nft -t nat -N KUBE-SERVICES");
        let mut found = 0;
        for rules in all_leftovers().await {
            found += usize::from(rules.remove().await.unwrap());
        }
        assert_eq!(found, 3, "iptables, and tables of two families");
        assert!(!nat().contains("KUBE-") && !tables().contains("kube-proxy"));
    });
}

#[test]
fn iptables_mode_replaces_the_other_mode_and_mends_its_chains_at_once() {
    in_namespace(async || {
        foreign("nft add table ip kube-proxy");
        foreign("nft add table ip6 kube-proxy");
        foreign("nft add table ip somebody-else");
        let mut proxy = Proxy::start(ProxyMode::Iptables).await;
        let live = || nat().contains("-A KUBE-SERVICES -d 10.96.0.10/32");
        proxy.until(START, "the service is live", live).await;
        let gone = || live() && !tables().contains("kube-proxy");
        proxy.until(START, "leftovers of nftables mode are gone", gone).await;
        assert!(tables().contains("table ip somebody-else"));

        let rules = || {
            let nat = nat();
            let mut rules: Vec<_> =
                nat.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect();
            rules.sort();
            rules
        };
        let whole = rules();
        let jump = whole.iter().find(|rule| rule.starts_with("-A PREROUTING")).unwrap();
        assert!(jump.contains("-j KUBE-SERVICES"), "{jump}");
        for line in [
            "iptables-nft -t nat -F PREROUTING",
            "iptables-nft -t nat -F KUBE-SERVICES",
            "iptables-nft -t nat -F",
            "nft flush ruleset",
        ] {
            foreign(line);
            assert_ne!(rules(), whole, "{line} changed nothing");
            proxy.until(SOON, line, || rules() == whole).await;
        }
        proxy.stop().await;
    });
}

//! Connection tracking, counters and addresses on the real kernel, in network namespaces made
//! for the test.
//!
//! Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kernel {
    #[expect(dead_code, reason = "there are no pods here")]
    pub mod network;
}

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use kernel::network::{in_namespace, run};
use netproxy::IpFamily;
use netproxy::conntrack::{
    Conntrack, ConntrackReconciler, Entry, Flow, NetlinkConntrack, Reconcile, ReconcileOutcome,
    UdpTargets,
};
use netproxy::input::Protocol;
use netproxy::machine::{LinuxMachine, Machine};
use netproxy::nfacct::{
    AccountingCounters, AccountingObjects, LOCALHOST_ACCEPTED, NetlinkAccounting, ensure_counters,
};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has the kernel follow connections in this namespace and translate, per family, what goes to
/// the service address on port 53 to the first endpoint.
fn translate() {
    for (iptables, service, endpoint) in
        [("iptables", "10.96.0.10", "127.0.0.1:5300"), ("ip6tables", "fd00:96::10", "[::1]:5300")]
    {
        let to = ["-d", service, "-p", "udp", "--dport", "53", "-j", "DNAT"];
        let rule = ["-t", "nat", "-A", "OUTPUT"].into_iter().chain(to);
        let rule: Vec<&str> = rule.chain(["--to-destination", endpoint]).collect();
        run(iptables, &rule);
    }
    for (family, service) in [("-4", "10.96.0.0/16"), ("-6", "fd00:96::/64")] {
        run("ip", &[family, "route", "add", "local", service, "dev", "lo"]);
    }
}

async fn entries(family: IpFamily) -> BTreeSet<Entry> {
    let mut found = BTreeSet::new();
    let mut visit = |entry| {
        found.insert(entry);
    };
    NetlinkConntrack.visit(family, Protocol::Udp, &mut visit).await.unwrap();
    found
}

async fn flows_to(destination: &str) -> Vec<Flow> {
    let destination: SocketAddr = destination.parse().unwrap();
    let found = entries(IpFamily::of(destination.ip())).await;
    found.iter().map(|entry| entry.flow).filter(|flow| flow.destination == destination).collect()
}

fn send(from: &str, to: &str) {
    let to: SocketAddr = to.parse().unwrap();
    UdpSocket::bind(from).unwrap().send_to(b"?", to).unwrap();
}

fn dns(family: IpFamily, service: &str, endpoints: &[&str]) -> Reconcile {
    let target = UdpTargets {
        addresses: vec![service.parse().unwrap()],
        node_port: Some(30053),
        endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let loopback: IpAddr =
        if family == IpFamily::V4 { [127, 0, 0, 1].into() } else { "::1".parse().unwrap() };
    Reconcile { family, targets: vec![target], node_port_addresses: vec![loopback] }
}

/// Compares once and tells how it ended.
async fn reconcile(wanted: Reconcile) -> ReconcileOutcome {
    let (observe, mut outcomes) = unbounded_channel();
    let reconciler = ConntrackReconciler::spawn(Arc::new(NetlinkConntrack), move |outcome| {
        let _ = observe.send(outcome);
    });
    reconciler.reconcile(wanted);
    timeout(PATIENCE, outcomes.recv()).await.expect("compared in time").unwrap()
}

#[test]
fn only_flows_of_gone_endpoints_go_in_both_families() {
    in_namespace(async || {
        translate();
        for (family, any, service, other_port, endpoint, node_port) in [
            (
                IpFamily::V4,
                "0.0.0.0:0",
                "10.96.0.10:53",
                "10.96.0.10:5353",
                "127.0.0.1:5300",
                "127.0.0.1:30053",
            ),
            (
                IpFamily::V6,
                "[::]:0",
                "[fd00:96::10]:53",
                "[fd00:96::10]:5353",
                "[::1]:5300",
                "[::1]:30053",
            ),
        ] {
            // Somebody listens, so that no error comes back.
            let _listening = UdpSocket::bind(endpoint).unwrap();
            send(any, service);
            send(any, other_port);
            send(any, node_port);
            let [flow] = flows_to(service).await[..] else { panic!("{family}: no single flow") };
            assert_eq!(flow.answered_by, endpoint.parse().unwrap());
            assert_eq!(flows_to(other_port).await.len(), 1);

            let same = reconcile(dns(family, service, &[endpoint])).await;
            assert_eq!((same.failure, same.deleted), (None, 1), "{family}: never translated one");
            assert_eq!(flows_to(service).await.len(), 1, "{family}");
            assert_eq!(flows_to(node_port).await.len(), 0, "{family}");

            let gone = reconcile(dns(family, service, &["192.0.2.1:5300"])).await;
            assert_eq!((gone.failure, gone.deleted), (None, 1), "{family}");
            assert_eq!(flows_to(service).await.len(), 0, "{family}");
            assert_eq!(flows_to(other_port).await.len(), 1, "{family}: another port is kept");
        }
    });
}

#[test]
fn kernel_filters_by_protocol_and_deletion_spares_a_younger_entry() {
    in_namespace(async || {
        translate();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        send("0.0.0.0:4000", "10.96.0.10:5353");
        let found = entries(IpFamily::V4).await;
        let entry = *found.first().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(kernel_sends_only_udp().await, "the filter is not honoured");

        let older = Entry { id: entry.id.map(|id| id ^ 1), ..entry };
        assert_eq!(NetlinkConntrack.delete(&[older]).await.unwrap(), 0);
        assert_eq!(NetlinkConntrack.delete(&[entry, entry]).await.unwrap(), 1);
        assert!(entries(IpFamily::V4).await.is_empty());
    });
}

/// Whether a filtered dump holds as many messages as UDP entries.
async fn kernel_sends_only_udp() -> bool {
    let mut messages = 0;
    let mut socket = netproxy::nfnetlink::NetfilterSocket::open().unwrap();
    let request = netproxy::conntrack::parse::dump_request(IpFamily::V4, Some(Protocol::Udp));
    socket.ask(request, &mut |_| messages += 1).await.unwrap();
    messages == entries(IpFamily::V4).await.len()
}

/// Resident memory in kB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn fifty_thousand_entries_cost_no_memory_and_only_the_stale_ones_go() {
    const SOURCES: u16 = 50_000;
    in_namespace(async || {
        translate();
        let _listening = UdpSocket::bind("127.0.0.1:5300").unwrap();
        // One socket, as many destinations as it takes: the table, not the sockets, is the point.
        let sender = UdpSocket::bind("0.0.0.0:4000").unwrap();
        for number in 0..SOURCES {
            let [high, low] = number.to_be_bytes();
            let to = SocketAddr::from(([10, 96, high, low], 7));
            let _ = sender.send_to(b"?", to);
        }
        for _ in 0..10 {
            send("0.0.0.0:0", "10.96.0.10:53");
        }
        let count = || run("cat", &["/proc/sys/net/netfilter/nf_conntrack_count"]);
        let before: usize = count().trim().parse().unwrap();
        assert!(before >= usize::from(SOURCES), "{before}");
        // What the first run allocates for good is no cost of the entries.
        reconcile(dns(IpFamily::V4, "10.96.0.10:54", &[])).await;

        let memory = resident();
        let outcome = reconcile(dns(IpFamily::V4, "10.96.0.10:53", &["192.0.2.1:5300"])).await;
        let grown = resident().saturating_sub(memory);
        assert_eq!((outcome.failure, outcome.deleted), (None, 10));
        // Kept, they would take 4.4 MB; other tests of this process take some, too.
        assert!(grown < 3072, "{grown} kB for {before} entries");
        assert!(outcome.duration < Duration::from_secs(10), "{:?}", outcome.duration);
        let after: usize = count().trim().parse().unwrap();
        assert!(after + 10 >= before, "{before} entries became {after}");
    });
}

#[test]
fn rules_count_in_objects_of_the_kernel() {
    in_namespace(async || {
        let counters = NetlinkAccounting;
        assert!(counters.count(LOCALHOST_ACCEPTED).await.is_err(), "no object yet");
        assert_eq!(ensure_counters(&counters).await, AccountingObjects::ALL);
        assert_eq!(ensure_counters(&counters).await, AccountingObjects::ALL, "they stay");
        let rule = ["-A", "OUTPUT", "-d", "127.0.0.0/8", "-m", "nfacct", "--nfacct-name"];
        run("iptables", &[&rule[..], &[LOCALHOST_ACCEPTED, "-j", "ACCEPT"]].concat());
        for _ in 0..3 {
            send("127.0.0.1:0", "127.0.0.1:9");
        }
        let count = counters.count(LOCALHOST_ACCEPTED).await.unwrap();
        assert!(count.packets >= 3 && count.bytes >= 3 * 29, "{count:?}");
        let saved = run("iptables-save", &["-t", "filter"]);
        let live = netproxy::iptables::parse::parse_saved(&saved, IpFamily::V4);
        let rules = live.chains.values().flatten();
        let text: String =
            rules.map(|r| netproxy::iptables::render::rule_text(r, IpFamily::V4)).collect();
        assert_eq!(
            text,
            " -d 127.0.0.0/8 -m nfacct --nfacct-name localhost_nps_accepted_pkts -j ACCEPT"
        );
    });
}

#[test]
fn address_changes_are_told() {
    in_namespace(async || {
        let mut watch = LinuxMachine.watch_addresses().unwrap();
        for change in [
            ["address", "add", "192.0.2.7/32", "dev", "lo"],
            ["address", "del", "192.0.2.7/32", "dev", "lo"],
        ] {
            run("ip", &change);
            timeout(PATIENCE, watch.changed()).await.expect("told in time").unwrap();
            let here = LinuxMachine.local_addresses().unwrap().contains(&[192, 0, 2, 7].into());
            assert_eq!(here, change[1] == "add");
        }
        run("ip", &["address", "add", "2001:db8::7/128", "dev", "lo", "nodad"]);
        timeout(PATIENCE, watch.changed()).await.expect("told in time").unwrap();
    });
}

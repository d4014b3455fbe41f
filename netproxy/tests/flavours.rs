//! The iptables back end over the binaries of both flavours, in namespaces of their own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[allow(dead_code, reason = "made for the tests of whole proxies")]
#[path = "kernel/network.rs"]
mod network;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use netproxy::backend::{Backend, Finding};
use netproxy::config::{IpFamily, LocalTraffic, ProxyConfig};
use netproxy::input::{ObjectKey, Protocol};
use netproxy::iptables::cleanup::cleanup;
use netproxy::iptables::flavour::{OtherFlavour, detect};
use netproxy::iptables::parse::{LiveTables, parse_saved};
use netproxy::iptables::{Flavour, Iptables, IptablesBackend, IptablesCommand};
use netproxy::model::changes::ServiceMap;
use netproxy::model::port_facts::PortFacts;
use netproxy::model::service_port::service_ports;
use netproxy::model::slices::endpoints;
use netproxy::rules::RuleContext;
use netproxy::rules::context::MachineFacts;
use netproxy::rules::ruleset::Table;
use netproxy::testing::build::LOCAL_NODE;
use netproxy::testing::{ServiceBuilder, node, service, slice};

use network::{in_namespace, private_mounts, run, run_with_input};

/// More than fit into one call of the nft flavour.
const SERVICES: u16 = 600;

fn context() -> RuleContext {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.local_traffic = LocalTraffic::ClusterCidrs(vec!["10.0.0.0/8".parse().unwrap()]);
    let machine =
        MachineFacts { local_addresses: &[], random_fully: true, liberal_conntrack: false };
    RuleContext::new(&config, IpFamily::V4, &node(&["192.168.0.2"]), machine)
}

fn built(number: u16) -> ServiceBuilder {
    let address = format!("172.30.{}.{}", number / 256, number % 256);
    service(&format!("a/s{number:04}")).cluster_ip(&address).port("web", Protocol::Tcp, 80)
}

/// The ports of a service with endpoints of these numbers.
fn facts(service: ServiceBuilder, numbers: &[u16]) -> (ObjectKey, Vec<PortFacts>) {
    let key = service.clone().build().metadata.key();
    let mut slice = slice(&key.to_string()).port("web", Protocol::Tcp, 8080);
    for number in numbers {
        slice = slice.endpoint(&format!("10.1.{}.{}", number / 256, number % 256));
    }
    let mut map = ServiceMap::default();
    map.apply(service.applied());
    map.apply(slice.applied());
    let ports = service_ports(map.service(&key).unwrap(), IpFamily::V4).into_iter().map(|port| {
        let found = endpoints(map.slices_of(&key), &port.name, IpFamily::V4, LOCAL_NODE);
        PortFacts::new(port, found, &context().topology)
    });
    let ports = ports.collect();
    (key, ports)
}

type World = BTreeMap<u16, Vec<u16>>;

/// Services with two endpoints each.
fn world() -> World {
    (0..SERVICES).map(|number| (number, vec![number * 2, number * 2 + 1])).collect()
}

fn backend(flavour: Flavour, world: &World) -> IptablesBackend {
    let iptables = Arc::new(IptablesCommand::new(IpFamily::V4, flavour));
    let mut backend = IptablesBackend::new(iptables, IpFamily::V4);
    backend.set_context(&context());
    for (number, endpoints) in world {
        plan(&mut backend, *number, endpoints);
    }
    backend
}

fn plan(backend: &mut IptablesBackend, number: u16, endpoints: &[u16]) {
    let (key, ports) = facts(built(number), endpoints);
    backend.plan_service(&key, &ports);
}

async fn saved(flavour: Flavour) -> LiveTables {
    let text = IptablesCommand::new(IpFamily::V4, flavour).save().await.unwrap();
    parse_saved(&text, IpFamily::V4)
}

/// Runs a test for each flavour, in a namespace of its own and with a lock of its own.
fn with_each_flavour(test: impl AsyncFn(Flavour) + Clone + Send + 'static) {
    for flavour in Flavour::ALL {
        let test = test.clone();
        in_namespace(async move || {
            private_mounts();
            test(flavour).await;
        });
    }
}

fn assert_same(a: &LiveTables, b: &LiveTables) {
    assert!(a.chains.keys().eq(b.chains.keys()));
    for (key, chain) in &a.chains {
        let other = &b.chains[key];
        let same = chain.iter().zip(other).all(|(a, b)| a.equivalent(b));
        assert!(same && chain.len() == other.len(), "{key}: {chain:?}, {other:?}");
    }
}

#[test]
fn rules_written_in_steps_are_those_written_at_once() {
    let tables: Arc<Mutex<Vec<LiveTables>>> = Arc::default();
    let seen = Arc::clone(&tables);
    with_each_flavour(async move |flavour| {
        let report = backend(flavour, &world()).sync().await.unwrap();
        assert!(report.full && report.written > usize::from(SERVICES) * 3);
        let live = saved(flavour).await;
        seen.lock().unwrap().push(live);
    });
    // The legacy flavour writes everything at once.
    let tables = tables.lock().unwrap();
    assert_same(&tables[0], &tables[1]);
}

#[test]
fn rules_that_changed_step_by_step_are_those_of_a_start() {
    with_each_flavour(async |flavour| {
        let mut world = world();
        let mut changing = backend(flavour, &world);
        changing.sync().await.unwrap();
        let changes: [(u16, &[u16]); 6] = [
            (SERVICES, &[9000, 9001]),
            (300, &[9002, 601]),
            (301, &[]),
            (5, &[9003]),
            (301, &[602]),
            (SERVICES + 7, &[]),
        ];
        for (number, endpoints) in changes {
            plan(&mut changing, number, endpoints);
            world.insert(number, endpoints.to_vec());
            let report = changing.sync().await.unwrap();
            assert!(!report.full && report.written <= 5, "{number}: {report:?}");
        }
        let changed = saved(flavour).await;
        let report = backend(flavour, &world).sync().await.unwrap();
        assert_eq!((report.written, report.deleted), (0, 0), "a start finds nothing to mend");

        cleanup(&IptablesCommand::new(IpFamily::V4, flavour), IpFamily::V4).await.unwrap();
        backend(flavour, &world).sync().await.unwrap();
        // Not the order of jumps: those that are shared with the kubelet were not cleaned up.
        let ours = |mut tables: LiveTables| {
            tables.chains.retain(|key, _| key.name.starts_with("KUBE-"));
            tables
        };
        assert_same(&ours(changed), &ours(saved(flavour).await));
    });
}

#[test]
fn flushed_tables_come_back_and_cleaning_up_leaves_the_rules_of_others() {
    with_each_flavour(async |flavour| {
        let [command, restore] = match flavour {
            Flavour::Nft => ["iptables-nft", "iptables-nft-restore"],
            Flavour::Legacy => ["iptables-legacy", "iptables-legacy-restore"],
        };
        let foreign = "*nat\n:MINE - [0:0]\n-A OUTPUT -j MINE\n\
            -A MINE -d 192.0.2.1/32 -m comment --comment \"a \\\"b\\\" c\" -j ACCEPT\nCOMMIT\n";
        run_with_input(restore, &["--noflush"], foreign);
        let alone = saved(flavour).await;
        let mut proxy = backend(flavour, &world());
        proxy.sync().await.unwrap();
        let complete = saved(flavour).await;
        assert!(!proxy.lost().await.unwrap());

        run(command, &["-t", "nat", "-F", "KUBE-SERVICES"]);
        run(command, &["-t", "mangle", "-X", "KUBE-PROXY-CANARY"]);
        assert!(proxy.lost().await.unwrap());
        proxy.forget();
        proxy.sync().await.unwrap();
        assert_same(&complete, &saved(flavour).await);

        let iptables = IptablesCommand::new(IpFamily::V4, flavour);
        assert!(cleanup(&iptables, IpFamily::V4).await.unwrap());
        let mut left = saved(flavour).await;
        let ours = left.chains.keys().filter(|key| key.name.starts_with("KUBE-"));
        // The kubelet's, which it would miss.
        assert!(ours.map(|key| &*key.name).eq(["KUBE-FIREWALL"]));
        left.chains.retain(|key, _| key.table == Table::Nat);
        assert_same(&alone, &left);
    });
}

#[test]
fn edits_of_a_chain_that_somebody_shortened_are_noticed() {
    with_each_flavour(async |flavour| {
        let command = match flavour {
            Flavour::Nft => "iptables-nft",
            Flavour::Legacy => "iptables-legacy",
        };
        let mut world = world();
        let mut proxy = backend(flavour, &world);
        proxy.sync().await.unwrap();
        run(command, &["-t", "nat", "-D", "KUBE-SERVICES", "17"]);
        world.insert(SERVICES, vec![9000]);
        plan(&mut proxy, SERVICES, &[9000]);
        assert!(proxy.sync().await.unwrap().full);
        let report = backend(flavour, &world).sync().await.unwrap();
        assert_eq!((report.written, report.deleted), (0, 0), "everything is mended");
    });
}

#[test]
fn service_that_iptables_refuses_does_not_keep_others_from_their_rules() {
    with_each_flavour(async |flavour| {
        let mut proxy = backend(flavour, &world());
        // A time of no seconds passes no API server, and iptables does not take it.
        let (key, ports) = facts(built(SERVICES).affinity(0), &[9000]);
        proxy.plan_service(&key, &ports);
        proxy.sync().await.unwrap();
        let refused: Vec<&ObjectKey> = proxy
            .findings()
            .iter()
            .filter_map(|finding| match finding {
                Finding::Refused { service, .. } => Some(service),
                _ => None,
            })
            .collect();
        assert_eq!(refused, [&key]);
        let mut alone = backend(flavour, &world());
        let report = alone.sync().await.unwrap();
        assert_eq!((report.written, report.deleted), (0, 0), "all others are in place");
        let (key, ports) = facts(built(SERVICES).affinity(10), &[9000]);
        proxy.plan_service(&key, &ports);
        proxy.sync().await.unwrap();
        assert!(proxy.findings().is_empty());
    });
}

#[test]
fn flavour_is_that_of_the_kubelet_and_the_other_one_is_told() {
    in_namespace(async || {
        private_mounts();
        assert_eq!(detect().await.unwrap().other, None);
        let hint = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n";
        run_with_input("iptables-legacy-restore", &["--noflush"], hint);
        let choice = detect().await.unwrap();
        assert_eq!((choice.flavour, choice.other), (Flavour::Legacy, None));
        assert_eq!(choice.command(IpFamily::V6).flavour(), Flavour::Legacy);

        let rules = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\nCOMMIT\n";
        run_with_input("ip6tables-nft-restore", &["--noflush"], rules);
        let other = OtherFlavour { ours: Flavour::Legacy, theirs: Flavour::Nft, chains: 2 };
        assert_eq!(detect().await.unwrap().other, Some(other));
    });
}

#[test]
fn looking_for_the_other_flavour_makes_no_tables_of_it() {
    in_namespace(async || {
        private_mounts();
        let choice = detect().await.unwrap();
        let loaded = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names");
        assert_eq!(loaded.unwrap_or_default(), "");
        assert_eq!(run("nft", &["list", "ruleset"]), "", "{}", choice.flavour);
    });
}

#[test]
fn rules_that_iptables_cannot_express_do_not_make_jumps_pile_up() {
    in_namespace(async || {
        private_mounts();
        let mut proxy = backend(Flavour::Nft, &World::from([(1, vec![1]), (2, vec![2])]));
        proxy.sync().await.unwrap();
        run("nft", &["add", "chain", "ip", "nat", "mine"]);
        let rule = "add rule ip nat mine ip daddr . tcp dport { 192.0.2.1 . 80 } dnat to 192.0.2.2";
        run("nft", &rule.split(' ').collect::<Vec<_>>());
        assert!(saved(Flavour::Nft).await.chains.keys().all(|key| key.table != Table::Nat));
        for endpoint in [3, 4] {
            plan(&mut proxy, 1, &[endpoint]);
            proxy.forget();
            proxy.sync().await.unwrap();
            let listed = run("nft", &["list", "chain", "ip", "nat", "PREROUTING"]);
            assert_eq!(listed.matches("jump KUBE-SERVICES").count(), 1, "{listed}");
            let all = run("nft", &["list", "table", "ip", "nat"]);
            assert!(all.contains("192.0.2.2") && all.contains(&format!("10.1.0.{endpoint}:8080")));
        }
    });
}

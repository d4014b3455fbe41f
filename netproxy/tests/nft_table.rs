//! Tables of ours in a kernel, in a network namespace of each test.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use netproxy::config::{IpFamily, LocalTraffic, NodePortAddresses, ProxyConfig};
use netproxy::input::{ObjectKey, Protocol};
use netproxy::model::port_facts::PortFacts;
use netproxy::model::service_port::service_ports;
use netproxy::model::slices::endpoints;
use netproxy::nftables::render::family_name;
use netproxy::nftables::state::{NftState, SetName};
use netproxy::nftables::{
    NftPlan, TableContext, diff, parse_table, render_diff, render_full, render_removal,
    render_stale_chains,
};
use netproxy::rules::RuleContext;
use netproxy::rules::context::MachineFacts;
use netproxy::testing::build::LOCAL_NODE;
use netproxy::testing::{ServiceBuilder, SliceBuilder, node, service, slice};
use nix::sched::{CloneFlags, unshare};

/// Runs a test on a thread of its own in a network namespace of its own, which ends with it.
fn in_own_network<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                test()
            })
            .join()
            .unwrap()
    })
}

fn write(text: &str) -> Result<(), String> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = nft.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

fn listed(family: IpFamily) -> String {
    let table = family_name(family);
    let output =
        Command::new("nft").args(["-y", "list", "table", table, "kube-proxy"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn live(family: IpFamily) -> NftState {
    parse_table(&listed(family), family).unwrap()
}

fn contexts(family: IpFamily) -> Vec<TableContext> {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    let cidrs = ["10.0.0.0/8", "fd00:10::/64"].map(|net| net.parse().unwrap());
    let mut all = Vec::new();
    for local_traffic in [
        LocalTraffic::ClusterCidrs(cidrs.to_vec()),
        LocalTraffic::ClusterCidrs(vec!["10.1.2.3/32".parse().unwrap()]),
        LocalTraffic::Bridge("cbr0".into()),
        LocalTraffic::InterfacePrefix("veth".into()),
        LocalTraffic::ClusterCidrs(Vec::new()),
    ] {
        config.local_traffic = local_traffic;
        config.node_port_addresses = match config.node_port_addresses {
            NodePortAddresses::All => NodePortAddresses::Primary,
            _ => NodePortAddresses::All,
        };
        config.masquerade_bit += 1;
        let machine =
            MachineFacts { local_addresses: &[], random_fully: true, liberal_conntrack: false };
        let node = node(&["192.168.0.2", "2001:db8::1"]);
        let cidrs = ["172.30.0.0/16".parse().unwrap(), "fd00:172::/112".parse().unwrap()];
        let rules = RuleContext::new(&config, family, &node, machine).with_service_cidrs(&cidrs);
        all.push(TableContext::new(&rules));
    }
    all
}

fn replace(plan: &mut NftPlan, service: ServiceBuilder, slices: &[SliceBuilder]) {
    let family = plan.context().family;
    let service = service.build();
    let slices: Vec<_> = slices.iter().cloned().map(SliceBuilder::build).collect();
    let topology = netproxy::model::traffic_policy::Topology {
        node_name: LOCAL_NODE.into(),
        ..Default::default()
    };
    let ports: Vec<PortFacts> = service_ports(&service, family)
        .into_iter()
        .map(|port| {
            let found = endpoints(&slices, &port.name, family, LOCAL_NODE);
            PortFacts::new(port, found, &topology)
        })
        .collect();
    plan.replace_service(&service.metadata.key(), &ports);
}

const PORTS: [(&str, Protocol, u16); 3] =
    [("", Protocol::Tcp, 80), ("dns", Protocol::Udp, 53), ("assoc", Protocol::Sctp, 38412)];

fn full_service(number: u8) -> ServiceBuilder {
    let mut built = service(&format!("a/s{number}"))
        .cluster_ip(&format!("172.30.0.{number}"))
        .cluster_ip(&format!("fd00:172::{number}"))
        .external_ip(&format!("192.168.99.{number}"))
        .external_ip(&format!("2001:db8:99::{number}"))
        .load_balancer_ip(&format!("1.2.3.{number}"))
        .load_balancer_ip(&format!("2001:db8:3::{number}"));
    for (index, (name, protocol, port)) in (0..).zip(PORTS) {
        built = built.port(name, protocol, port).node_port(30_000 + 10 * u16::from(number) + index);
    }
    built
}

fn backends(number: u8, count: u8) -> Vec<SliceBuilder> {
    let mut slices = Vec::new();
    for (family, prefix) in [("v4", "10.180.0."), ("v6", "fd00:10::")] {
        let mut built = slice(&format!("a/s{number}")).named(&format!("s{number}-{family}"));
        for (name, protocol, port) in PORTS {
            built = built.port(name, protocol, port);
        }
        for host in 1..=count {
            let address = format!("{prefix}{host}");
            built = if host % 2 == 1 { built.local(&address) } else { built.endpoint(&address) };
        }
        slices.push(built);
    }
    slices
}

/// Services of every kind.
fn everything(plan: &mut NftPlan) {
    replace(plan, full_service(1), &backends(1, 3));
    replace(plan, full_service(2).external_local().internal_local(), &backends(2, 4));
    replace(plan, full_service(3).affinity(10_800), &backends(3, 2));
    let sticky = full_service(4).external_local().affinity(93_784);
    replace(
        plan,
        sticky.source_range("203.0.113.0/25").source_range("2001:db8::/32"),
        &backends(4, 3),
    );
    replace(plan, full_service(5).source_range("192.168.0.0/16"), &backends(5, 1));
    replace(plan, full_service(6).external_local(), &[]);
    let remote = slice("a/s7").port("", Protocol::Tcp, 80).endpoint("10.180.0.2");
    replace(plan, full_service(7).external_local().internal_local(), &[remote]);
}

#[test]
fn listed_table_reads_back_as_the_one_that_was_written() {
    for family in [IpFamily::V4, IpFamily::V6] {
        for context in contexts(family) {
            in_own_network(|| {
                let mut plan = NftPlan::new(context);
                write(&render_full(&plan.state())).unwrap();
                assert_eq!(live(family), plan.state());
                everything(&mut plan);
                write(&render_full(&plan.state())).unwrap();
                assert_eq!(live(family), plan.state());
                write(&render_removal(family)).unwrap();
                assert_eq!(listed(family), "");
            });
        }
    }
}

type Step = Box<dyn Fn(&mut NftPlan)>;

#[test]
fn changes_lead_the_kernel_from_one_table_to_the_next() {
    for family in [IpFamily::V4, IpFamily::V6] {
        in_own_network(|| {
            let mut plan = NftPlan::new(contexts(family).remove(0));
            plan.take_changes();
            write(&render_full(&plan.state())).unwrap();
            let mut steps: Vec<Step> = vec![
                Box::new(everything),
                Box::new(|plan| replace(plan, full_service(1), &backends(1, 5))),
                Box::new(|plan| replace(plan, full_service(1).affinity(60), &backends(1, 5))),
                Box::new(|plan| replace(plan, full_service(3).affinity(30), &backends(3, 4))),
                Box::new(|plan| replace(plan, full_service(2), &[])),
                Box::new(|plan| replace(plan, full_service(4), &backends(4, 2))),
            ];
            for number in 1..=7 {
                let key = ObjectKey::new("a", format!("s{number}"));
                steps.push(Box::new(move |plan| plan.replace_service(&key, &[])));
            }
            for step in steps {
                step(&mut plan);
                let batch = render_diff(&plan.take_changes(), family);
                write(&batch.text).unwrap();
                write(&render_stale_chains(&batch.stale_chains, family)).unwrap();
                assert_eq!(live(family), plan.state());
                assert!(diff(&live(family), &plan.state()).is_empty());
            }
            assert_eq!(plan.state().element_count(), 1, "the address for node ports is left");
        });
    }
}

/// The beginning of what kube-proxy writes.
const UPSTREAM: &str = r#"
table ip kube-proxy {
    comment "rules for kube-proxy"
    set cluster-ips { type ipv4_addr; comment "Active ClusterIPs"; }
    map service-ips {
        type ipv4_addr . inet_proto . inet_service : verdict
        comment "ClusterIP, ExternalIP and LoadBalancer IP traffic"
    }
    chain nat-prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        jump services
    }
    chain services {
        ip daddr . meta l4proto . th dport vmap @service-ips
    }
}
"#;

#[test]
fn table_of_another_layout_is_told_apart_and_replaced_in_one_transaction() {
    in_own_network(|| {
        write(UPSTREAM).unwrap();
        assert!(parse_table(&listed(IpFamily::V4), IpFamily::V4).is_err());
        let mut plan = NftPlan::new(contexts(IpFamily::V4).remove(0));
        everything(&mut plan);
        write(&render_full(&plan.state())).unwrap();
        assert_eq!(live(IpFamily::V4), plan.state());

        write("add rule ip kube-proxy services ip saddr 1.2.3.4 counter drop").unwrap();
        let foreign = parse_table(&listed(IpFamily::V4), IpFamily::V4).unwrap_err();
        assert!(foreign.to_string().contains("1.2.3.4"), "{foreign}");
        write("add rule ip kube-proxy services ip saddr 1.2.3.4 drop").unwrap();
    });
}

#[test]
fn foreign_element_and_missing_one_are_differences() {
    in_own_network(|| {
        let mut plan = NftPlan::new(contexts(IpFamily::V4).remove(0));
        everything(&mut plan);
        write(&render_full(&plan.state())).unwrap();
        let mut spoilt = String::new();
        for (set, element) in
            [(SetName::ClusterIps, "172.30.0.1"), (SetName::ServiceIps, "172.30.0.1 . tcp . 80")]
        {
            writeln!(spoilt, "delete element ip kube-proxy {set} {{ {element} }}").unwrap();
        }
        spoilt += "add element ip kube-proxy cluster-ips { 1.1.1.1 }\n";
        spoilt += "flush chain ip kube-proxy masquerading\n";
        spoilt += "add chain ip kube-proxy mine\n";
        write(&spoilt).unwrap();
        let changes = diff(&live(IpFamily::V4), &plan.state());
        assert_eq!((changes.written(), changes.deleted()), (3, 2), "{changes:?}");
        let batch = render_diff(&changes, IpFamily::V4);
        write(&batch.text).unwrap();
        write(&render_stale_chains(&batch.stale_chains, IpFamily::V4)).unwrap();
        assert_eq!(live(IpFamily::V4), plan.state());
    });
}

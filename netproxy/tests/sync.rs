//! The task on fakes, with a clock that stands still until nothing else is left to run.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use netproxy::config::{IpFamily, LocalTraffic, NodePortAddresses, ProxyConfig};
use netproxy::conntrack::Flow;
use netproxy::input::{ObjectKey, Parsed, Protocol};
use netproxy::testing::build::LOCAL_NODE;
use netproxy::testing::fake_iptables::Fault;
use netproxy::testing::{
    FakeConntrack, FakeIptables, FakeMachine, ServiceBuilder, SliceBuilder, node, service, slice,
};
use netproxy::{
    Backends, FamilyStatus, Finding, ObjectKind, ProxyError, ProxyStatus, ServiceChange,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

const KINDS: [ObjectKind; 3] = [ObjectKind::Services, ObjectKind::EndpointSlices, ObjectKind::Node];

struct Proxy {
    iptables: Arc<FakeIptables>,
    conntrack: Arc<FakeConntrack>,
    machine: Arc<FakeMachine>,
    changes: Option<mpsc::Sender<ServiceChange>>,
    status: watch::Receiver<ProxyStatus>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ProxyError>>,
}

impl Proxy {
    fn start() -> Self {
        Self::over(FakeIptables::new(IpFamily::V4), config())
    }

    fn over(iptables: Arc<FakeIptables>, config: ProxyConfig) -> Self {
        let conntrack = FakeConntrack::new();
        let machine = FakeMachine::new(&["192.168.0.2", "127.0.0.1"]);
        let (changes, received) = mpsc::channel(16);
        let (publish, status) = watch::channel(ProxyStatus::default());
        let stop = CancellationToken::new();
        let backends = Backends::over_iptables(
            [(IpFamily::V4, iptables.clone() as _)].into(),
            conntrack.clone(),
            machine.clone(),
        );
        let task = tokio::spawn(netproxy::run(config, received, backends, publish, stop.clone()));
        Self { iptables, conntrack, machine, changes: Some(changes), status, stop, task }
    }

    async fn synced(objects: Vec<ServiceChange>) -> Self {
        let mut proxy = Self::start();
        proxy.list(objects).await;
        proxy.settled().await;
        proxy.iptables.take_calls();
        proxy
    }

    async fn send(&self, change: ServiceChange) {
        self.changes.as_ref().unwrap().send(change).await.unwrap();
    }

    async fn list(&self, objects: Vec<ServiceChange>) {
        for kind in KINDS {
            self.send(ServiceChange::Restart(kind)).await;
        }
        self.send(ServiceChange::NodeApplied(Box::new(node(&["192.168.0.2"])))).await;
        for object in objects {
            self.send(object).await;
        }
        for kind in KINDS {
            self.send(ServiceChange::Synced(kind)).await;
        }
    }

    /// Lets the task do all it can do now, without moving the clock.
    async fn pause(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until nothing is left to sync.
    async fn settled(&mut self) {
        self.pause().await;
        let settled = self.status.wait_for(|status| {
            status.synced_once() && status.families.values().all(|f| f.queued_since.is_none())
        });
        timeout(Duration::from_secs(600), settled).await.expect("settles").unwrap();
        self.pause().await;
    }

    fn family(&self) -> FamilyStatus {
        self.status.borrow().families[&IpFamily::V4].clone()
    }

    fn has(&self, word: &str) -> bool {
        self.iptables.saved().contains(word)
    }

    async fn stop(self) -> Arc<FakeIptables> {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.iptables
    }
}

fn config() -> ProxyConfig {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.local_traffic = LocalTraffic::ClusterCidrs(vec!["10.0.0.0/8".parse().unwrap()]);
    config
}

fn web(number: u8) -> ServiceBuilder {
    service(&format!("a/web{number}")).cluster_ip(&format!("172.30.0.{number}")).port(
        "",
        Protocol::Tcp,
        80,
    )
}

fn backends(number: u8) -> SliceBuilder {
    slice(&format!("a/web{number}"))
        .port("", Protocol::Tcp, 80)
        .endpoint(&format!("10.180.0.{number}"))
}

fn to_web(number: u8) -> String {
    format!("10.180.0.{number}:80")
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_all_lists_are_complete() {
    let mut proxy = Proxy::start();
    proxy.send(web(1).applied()).await;
    proxy.send(backends(1).applied()).await;
    for kind in [ObjectKind::Services, ObjectKind::EndpointSlices] {
        proxy.send(ServiceChange::Synced(kind)).await;
    }
    sleep(Duration::from_secs(3600)).await;
    assert!(proxy.iptables.take_calls().is_empty());
    assert!(!proxy.status.borrow().synced_once());
    proxy.send(ServiceChange::Synced(ObjectKind::Node)).await;
    proxy.settled().await;
    assert!(proxy.has(&to_web(1)));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn cluster_without_services_gets_the_fixed_rules() {
    let proxy = Proxy::synced(vec![]).await;
    assert!(proxy.has("KUBE-MARK-MASQ") && proxy.has("-A OUTPUT"));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn first_change_after_quiet_is_written_at_once_and_followers_together_after_a_second() {
    let proxy = Proxy::synced(vec![]).await;
    sleep(Duration::from_secs(10)).await;
    let start = Instant::now();
    proxy.send(web(1).applied()).await;
    proxy.pause().await;
    assert_eq!(proxy.iptables.take_writes().len(), 1);
    for number in 2..6 {
        proxy.send(web(number).applied()).await;
        proxy.pause().await;
    }
    assert!(proxy.iptables.take_writes().is_empty());
    assert!(proxy.family().queued_since.is_some());
    advance(Duration::from_secs(1)).await;
    proxy.pause().await;
    assert_eq!(proxy.iptables.take_writes().len(), 1);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    assert!(proxy.has("a/web5"));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn change_writes_only_chains_of_its_service() {
    let objects = (1..9).flat_map(|n| [web(n).applied(), backends(n).applied()]).collect();
    let mut proxy = Proxy::synced(objects).await;
    proxy.send(backends(3).endpoint("10.180.9.9").applied()).await;
    proxy.settled().await;
    let writes = proxy.iptables.take_writes();
    assert_eq!(writes.len(), 1);
    let chains: Vec<&str> = writes[0].lines().filter(|line| line.starts_with(':')).collect();
    // The balancing chain and the new endpoint.
    assert_eq!(chains.len(), 2, "{chains:?}");
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_the_node_knows_to_be_down_is_left_out_until_it_is_up() {
    let web = web(1).with(|service| service.spec.has_selector = true);
    let slice = backends(1).local("10.180.0.7");
    let mut proxy = Proxy::synced(vec![web.applied(), slice.applied()]).await;
    assert!(proxy.has("10.180.0.7:80"));
    let address = "10.180.0.7".parse().unwrap();
    proxy.send(ServiceChange::LocalDown(Arc::new([address].into()))).await;
    proxy.settled().await;
    assert!(!proxy.has("10.180.0.7:80") && proxy.has(&to_web(1)));
    proxy.send(ServiceChange::LocalDown(Arc::default())).await;
    proxy.settled().await;
    assert!(proxy.has("10.180.0.7:80"));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refused_service_is_told_left_out_and_tried_again_without_a_change() {
    let mut proxy = Proxy::synced(vec![web(1).applied(), backends(1).applied()]).await;
    proxy.iptables.set_fault(Some(Fault::Refuse(to_web(2))));
    for change in [web(2).applied(), backends(2).applied(), backends(3).applied()] {
        proxy.send(change).await;
    }
    proxy.send(web(3).applied()).await;
    proxy.settled().await;
    assert!(proxy.has(&to_web(3)) && !proxy.has(&to_web(2)));
    let refused = |proxy: &Proxy| {
        let findings = proxy.family().findings.into_iter();
        let found = findings.filter(|finding| matches!(finding, Finding::Refused { .. }));
        found.map(|finding| finding.to_string()).collect::<Vec<_>>().join("")
    };
    assert!(refused(&proxy).contains("a/web2"), "{}", refused(&proxy));
    proxy.iptables.set_fault(None);
    sleep(Duration::from_secs(60)).await;
    assert!(proxy.has(&to_web(2)));
    assert_eq!(refused(&proxy), "");
    proxy.iptables.take_calls();
    sleep(Duration::from_secs(1000)).await;
    assert!(proxy.iptables.take_writes().is_empty());
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn equal_list_and_restart_write_nothing() {
    let objects = vec![web(1).applied(), backends(1).applied()];
    let proxy = Proxy::synced(objects.clone()).await;
    proxy.list(objects.clone()).await;
    sleep(Duration::from_secs(5)).await;
    assert!(proxy.iptables.take_calls().is_empty());
    let iptables = proxy.stop().await;

    let mut again = Proxy::over(iptables, config());
    again.list(objects).await;
    again.settled().await;
    assert!(again.iptables.take_writes().is_empty());
    again.stop().await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_vanished_between_lists_lose_their_rules() {
    let all =
        vec![web(1).applied(), backends(1).applied(), web(2).applied(), backends(2).applied()];
    let mut proxy = Proxy::synced(all).await;
    assert!(proxy.has(&to_web(2)));
    proxy.list(vec![web(1).applied(), backends(1).applied()]).await;
    proxy.settled().await;
    assert!(proxy.has(&to_web(1)) && !proxy.has(&to_web(2)) && !proxy.has("a/web2"));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deleted_service_and_slice_lose_their_rules() {
    let mut proxy = Proxy::synced(vec![web(1).applied(), backends(1).applied()]).await;
    proxy.send(ServiceChange::SliceDeleted(ObjectKey::new("a", "web1-1"))).await;
    proxy.settled().await;
    assert!(proxy.has("a/web1 has no endpoints") && !proxy.has(&to_web(1)));
    proxy.send(ServiceChange::ServiceDeleted(ObjectKey::new("a", "web1"))).await;
    proxy.settled().await;
    assert!(!proxy.has("a/web1"));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failed_sync_is_told_and_retried_in_full_with_growing_delay() {
    let mut proxy = Proxy::synced(vec![]).await;
    sleep(Duration::from_secs(10)).await;
    for _ in 0..2 {
        // The write of the change, the comparison's write; then again for each retry.
        proxy.iptables.fail_next("restore");
    }
    proxy.iptables.fail_next("restore");
    let start = Instant::now();
    proxy.send(web(1).applied()).await;
    proxy.pause().await;
    let failed = proxy.family();
    assert!(failed.last_sync.clone().unwrap().failure.unwrap().contains("queued error"));
    assert_eq!(failed.queued_since, Some(start));
    assert!(failed.healthy(start, Duration::from_secs(60)));
    assert!(!failed.healthy(start + Duration::from_secs(60), Duration::from_secs(60)));
    proxy.settled().await;
    assert_eq!(start.elapsed(), Duration::from_secs(1 + 2));
    let done = proxy.family();
    assert_eq!(done.last_sync.as_ref().unwrap().failure, None);
    assert!(done.last_sync.unwrap().full);
    assert!(proxy.has("a/web1"));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn flushed_rules_come_back_within_the_sync_period() {
    let proxy = Proxy::synced(vec![web(1).applied(), backends(1).applied()]).await;
    proxy.iptables.set("");
    sleep(Duration::from_secs(31)).await;
    assert!(proxy.has(&to_web(1)) && proxy.has("-A PREROUTING"));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rules_changed_by_hand_are_repaired_by_the_hourly_comparison() {
    let proxy = Proxy::synced(vec![web(1).applied(), backends(1).applied()]).await;
    let saved = proxy.iptables.saved();
    proxy.iptables.set(&saved.replace("10.180.0.1:80\n", "10.180.0.99:80\n"));
    assert!(proxy.has("--to-destination 10.180.0.99:80"));
    sleep(Duration::from_secs(3601)).await;
    assert!(!proxy.has("10.180.0.99") && proxy.has(&to_web(1)));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_object_does_not_hide_the_others() {
    let broken = backends(2).with(|slice| {
        slice.endpoints[0].address = Some(Parsed::Invalid("nonsense".into()));
    });
    let objects = vec![
        web(1).applied(),
        backends(1).applied(),
        web(2).applied(),
        broken.endpoint("10.180.0.22").applied(),
    ];
    let proxy = Proxy::synced(objects).await;
    assert!(proxy.has(&to_web(1)) && proxy.has("10.180.0.22:80"));
    proxy.stop().await;
}

fn dns() -> ServiceBuilder {
    service("a/dns").cluster_ip("172.30.0.10").port("", Protocol::Udp, 53)
}

fn dns_backends(address: &str) -> SliceBuilder {
    slice("a/dns").port("", Protocol::Udp, 53).endpoint(address)
}

fn flow(destination: &str, answered_by: &str) -> Flow {
    Flow {
        source: "10.0.0.9:4000".parse().unwrap(),
        destination: destination.parse().unwrap(),
        answered_by: answered_by.parse().unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn udp_flows_of_gone_endpoints_are_cleared_after_the_rules_changed() {
    let mut proxy = Proxy::synced(vec![
        dns().applied(),
        dns_backends("10.180.0.1").applied(),
        web(1).applied(),
    ])
    .await;
    let stale = flow("172.30.0.10:53", "10.180.0.1:53");
    let other = flow("8.8.8.8:53", "8.8.8.8:53");
    proxy.conntrack.add(stale);
    proxy.conntrack.add(other);
    let dumps = proxy.conntrack.dumps();
    proxy.send(backends(1).applied()).await;
    proxy.settled().await;
    assert_eq!(proxy.conntrack.dumps(), dumps, "no UDP service changed");

    // A failed look is repeated, without any further change.
    proxy.conntrack.fail_next_dump();
    sleep(Duration::from_secs(2)).await;
    proxy.send(dns_backends("10.180.0.2").applied()).await;
    proxy.settled().await;
    assert_eq!(proxy.conntrack.flows(), [other, stale]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(proxy.conntrack.flows(), [other]);
    let status = proxy.family().conntrack;
    assert_eq!((status.deleted, status.last.unwrap().failure), (1, None));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rules_never_wait_for_connection_tracking() {
    let mut proxy =
        Proxy::synced(vec![dns().applied(), dns_backends("10.180.0.1").applied()]).await;
    let stale = flow("172.30.0.10:53", "10.180.0.1:53");
    proxy.conntrack.add(stale);
    let held = proxy.conntrack.hold_dumps();
    for number in 2..5 {
        sleep(Duration::from_secs(2)).await;
        proxy.send(dns_backends(&format!("10.180.0.{number}")).applied()).await;
        proxy.settled().await;
        assert!(proxy.has(&format!("--to-destination 10.180.0.{number}:53")));
    }
    assert_eq!(proxy.conntrack.flows(), [stale]);
    let dumps = proxy.conntrack.dumps();
    drop(held);
    proxy.pause().await;
    assert_eq!(proxy.conntrack.flows(), []);
    assert_eq!(proxy.conntrack.dumps(), dumps + 1, "only the newest state is looked at again");
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn node_ports_follow_the_addresses_of_the_machine() {
    let mut config = config();
    let networks = vec!["192.168.0.0/24".parse().unwrap()];
    config.node_port_addresses = NodePortAddresses::Within(networks);
    let mut proxy = Proxy::over(FakeIptables::new(IpFamily::V4), config);
    proxy.list(vec![]).await;
    proxy.settled().await;
    let dispatch = |address: &str| format!("-A KUBE-SERVICES -d {address}/32 ");
    assert!(proxy.has(&dispatch("192.168.0.2")));
    sleep(Duration::from_secs(2)).await;
    proxy.iptables.take_calls();
    proxy.machine.set_addresses(&["192.168.0.2", "10.9.9.9"]);
    proxy.pause().await;
    assert!(proxy.iptables.take_calls().is_empty(), "no address that counts");
    proxy.machine.set_addresses(&["192.168.0.7", "10.9.9.9"]);
    proxy.settled().await;
    assert!(proxy.has(&dispatch("192.168.0.7")));
    assert!(!proxy.has(&dispatch("192.168.0.2")));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn loopback_node_ports_get_their_kernel_setting() {
    const SETTING: &str = "net/ipv4/conf/all/route_localnet";
    let proxy = Proxy::synced(vec![]).await;
    assert_eq!(proxy.machine.setting(SETTING).as_deref(), Some("1"));
    proxy.stop().await;

    let mut closed = config();
    closed.localhost_node_ports = false;
    let proxy = Proxy::over(FakeIptables::new(IpFamily::V4), closed);
    proxy.pause().await;
    assert_eq!(proxy.machine.setting(SETTING), None);
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn large_cluster_switches_comments_off_and_on() {
    let many = |count: u32| {
        let mut slice = slice("a/web1").port("", Protocol::Tcp, 80);
        for number in 0..count {
            slice = slice.endpoint(&format!("10.181.{}.{}", number / 250, number % 250));
        }
        slice.applied()
    };
    let mut proxy = Proxy::synced(vec![web(1).applied(), many(1000)]).await;
    assert!(proxy.has(" -> 10.181"));
    proxy.send(many(1001)).await;
    proxy.settled().await;
    assert!(!proxy.has(" -> 10.181"));
    assert_eq!(proxy.family().endpoints, 1001);
    proxy.send(many(1)).await;
    proxy.settled().await;
    assert!(proxy.has(" -> 10.181"));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn zone_of_the_node_moves_traffic() {
    let hinted = slice("a/web1")
        .port("", Protocol::Tcp, 80)
        .endpoint("10.180.0.1")
        .for_zone("z1")
        .endpoint("10.180.0.2")
        .for_zone("z2");
    let mut proxy = Proxy::synced(vec![web(1).applied(), hinted.applied()]).await;
    assert!(proxy.has(&to_web(1)) && proxy.has(&to_web(2)));
    let mut moved = node(&["192.168.0.2"]);
    moved.zone = Some("z2".into());
    proxy.send(ServiceChange::NodeApplied(Box::new(moved))).await;
    proxy.settled().await;
    assert!(!proxy.has(&to_web(1)) && proxy.has(&to_web(2)));
    proxy.stop().await;
}

#[tokio::test(start_paused = true)]
async fn task_ends_with_its_feeder_and_refuses_a_bad_configuration() {
    let mut proxy = Proxy::start();
    proxy.changes = None;
    assert!(matches!(proxy.task.await.unwrap(), Err(ProxyError::ChangesEnded)));

    let mut config = config();
    config.masquerade_bit = 40;
    let proxy = Proxy::over(FakeIptables::new(IpFamily::V4), config);
    let error = proxy.task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("masquerade bit 40"), "{error}");
}

use super::*;
use crate::input::Protocol;
use crate::nftables::diff::diff;
use crate::nftables::state::{Front, Key, SetName};
use crate::nftables::{LiveTable, NftError, NftState};
use crate::testing::{FakeNft, NftCall, port_facts, rule_context, service, slice};

const FAMILY: IpFamily = IpFamily::V4;

struct World {
    nft: Arc<FakeNft>,
    backend: NftBackend,
}

impl World {
    fn new() -> Self {
        let nft = FakeNft::new(FAMILY);
        let mut backend = NftBackend::new(nft.clone(), FAMILY);
        backend.set_context(&rule_context(FAMILY));
        Self { nft, backend }
    }

    /// Another process on the same kernel.
    fn restarted(&self) -> Self {
        let mut backend = NftBackend::new(self.nft.clone(), FAMILY);
        backend.set_context(&rule_context(FAMILY));
        Self { nft: Arc::clone(&self.nft), backend }
    }

    /// Plans service `a/sN` at 172.30.0.N with these endpoints; without any it stays, rejected.
    fn plan(&mut self, number: u8, endpoints: &[&str]) {
        let name = format!("a/s{number}");
        let built = service(&name).cluster_ip(&format!("172.30.0.{number}"));
        let built = built.port("", Protocol::Tcp, 80);
        let mut pods = slice(&name).port("", Protocol::Tcp, 8080);
        for endpoint in endpoints {
            pods = pods.endpoint(endpoint);
        }
        let (key, ports) = port_facts(&built, &pods, FAMILY);
        self.backend.plan_service(&key, &ports);
    }

    async fn sync(&mut self) -> SyncReport {
        self.backend.sync().await.unwrap()
    }

    fn live(&self) -> NftState {
        match self.nft.live() {
            LiveTable::Ours(live) => live,
            other => panic!("{other:?}"),
        }
    }

    /// Everything planned is live, and nothing else.
    fn assert_in_place(&self) {
        let difference = diff(&self.live(), &self.backend.plan().unwrap().state());
        assert!(difference.is_empty(), "{difference:#?}");
    }
}

fn address(number: u8) -> Key {
    Key::Address([172, 30, 0, number].into())
}

fn front(number: u8) -> Front {
    Front { address: [172, 30, 0, number].into(), protocol: Protocol::Tcp, port: 80 }
}

fn broken() -> NftError {
    NftError::Netlink(std::io::ErrorKind::BrokenPipe.into())
}

#[tokio::test]
async fn first_sync_builds_the_table_and_later_ones_write_what_changed() {
    let mut world = World::new();
    world.plan(1, &["10.0.0.1", "10.0.0.2"]);
    world.plan(2, &["10.0.0.3"]);
    assert!(world.sync().await.full);
    assert!(matches!(world.nft.take_calls().as_slice(), [NftCall::Read, NftCall::Replace(_)]));
    world.assert_in_place();

    world.plan(1, &["10.0.0.1", "10.0.0.9"]);
    let report = world.sync().await;
    assert_eq!((report.full, report.written, report.deleted), (false, 1, 0));
    let calls = world.nft.take_calls();
    let [NftCall::Update(changes)] = calls.as_slice() else { panic!("{calls:?}") };
    let touched: Vec<_> = changes.elements.keys().collect();
    assert_eq!(touched, [&(SetName::Endpoints(Protocol::Tcp), Key::Nth(front(1), 1))]);
    world.assert_in_place();

    assert_eq!(world.sync().await, SyncReport::default());
    assert_eq!(world.nft.take_calls(), []);
}

#[tokio::test]
async fn restart_writes_the_difference_and_keeps_what_the_kernel_remembers() {
    let mut world = World::new();
    world.plan(1, &["10.0.0.1"]);
    world.plan(2, &["10.0.0.2"]);
    world.sync().await;
    world.nft.take_calls();

    let mut world = world.restarted();
    world.plan(1, &["10.0.0.1"]);
    let report = world.sync().await;
    assert!(report.full && report.deleted > 0, "{report:?}");
    let calls = world.nft.take_calls();
    assert!(matches!(calls.as_slice(), [NftCall::Read, NftCall::Update(_)]), "{calls:?}");
    world.assert_in_place();
    assert!(!world.live().sets[&SetName::ClusterIps].contains_key(&address(2)));

    let mut world = world.restarted();
    world.plan(1, &["10.0.0.1"]);
    world.sync().await;
    assert_eq!(world.nft.take_calls(), [NftCall::Read]);
}

#[tokio::test]
async fn table_of_another_layout_is_replaced_at_once() {
    let mut world = World::new();
    world.nft.set(LiveTable::Foreign("of kube-proxy".to_owned()));
    world.plan(1, &["10.0.0.1"]);
    world.sync().await;
    assert!(matches!(world.nft.take_calls().as_slice(), [NftCall::Read, NftCall::Replace(_)]));
    world.assert_in_place();
}

#[tokio::test]
async fn new_chain_comes_before_its_elements_and_an_unused_one_goes_after_them() {
    let mut world = World::new();
    world.plan(1, &["10.0.0.1"]);
    world.sync().await;
    world.nft.take_calls();

    world.plan(1, &["10.0.0.1", "10.0.0.2"]);
    world.sync().await;
    let calls = world.nft.take_calls();
    let [NftCall::Update(chains), NftCall::Update(elements), NftCall::DeleteChains(gone)] =
        calls.as_slice()
    else {
        panic!("{calls:?}")
    };
    assert!(!chains.chains.is_empty() && chains.elements.is_empty());
    assert!(elements.chains.is_empty() && !elements.elements.is_empty());
    assert!(!gone.is_empty());
    world.assert_in_place();
}

#[tokio::test]
async fn chain_that_cannot_be_deleted_is_tried_again_and_may_come_back() {
    let mut world = World::new();
    world.plan(1, &["10.0.0.1"]);
    world.plan(2, &["10.0.0.1", "10.0.0.2"]);
    world.sync().await;
    let busy = || NftError::Failed { status: "1".to_owned(), message: "busy".to_owned() };
    for endpoints in [["10.0.0.1", "10.0.0.3"].as_slice(), &["10.0.0.1"]] {
        world.nft.fail_next("delete_chains", busy());
        world.plan(1, endpoints);
        world.sync().await;
    }
    world.sync().await;
    world.assert_in_place();
}

#[tokio::test]
async fn failure_assumes_nothing_and_the_next_sync_reads() {
    for call in ["update", "read"] {
        let mut world = World::new();
        world.plan(1, &["10.0.0.1"]);
        world.sync().await;
        if call == "read" {
            world.backend.forget();
        }
        world.nft.fail_next(call, broken());
        world.plan(1, &["10.0.0.7"]);
        assert!(world.backend.sync().await.is_err());
        assert!(world.backend.needs_full());
        world.nft.take_calls();
        assert!(world.sync().await.full);
        assert_eq!(world.nft.take_calls().first(), Some(&NftCall::Read));
        world.assert_in_place();
    }
}

#[tokio::test]
async fn foreign_change_is_found_by_the_refusal_and_mended_in_the_same_sync() {
    let mut world = World::new();
    world.plan(1, &["10.0.0.1"]);
    world.plan(2, &["10.0.0.2"]);
    world.sync().await;
    let mut damaged = world.live();
    damaged.put(SetName::Endpoints(Protocol::Tcp), Key::Nth(front(1), 0), None);
    damaged.put(SetName::ClusterIps, address(2), None);
    world.nft.set(LiveTable::Ours(damaged));
    world.plan(1, &["10.0.0.7"]);
    assert!(world.sync().await.full);
    world.assert_in_place();

    world.nft.set(LiveTable::Missing);
    assert!(world.backend.lost().await.unwrap());
    world.plan(1, &["10.0.0.8"]);
    world.sync().await;
    world.assert_in_place();
    assert!(!world.backend.lost().await.unwrap());
}

#[tokio::test]
async fn refused_service_is_left_out_and_named_until_it_changes() {
    for live in [LiveTable::Missing, LiveTable::Foreign(String::new())] {
        let mut world = World::new();
        world.nft.set(live);
        world.nft.poison(address(2));
        for number in 1..=3 {
            world.plan(number, &["10.0.0.1"]);
        }
        world.sync().await;
        world.assert_in_place();
        let live = world.live();
        assert!(live.sets[&SetName::ClusterIps].contains_key(&address(1)));
        assert!(live.sets[&SetName::ClusterIps].contains_key(&address(3)));
        let ways = &live.sets[&SetName::ServiceIps];
        assert!(!ways.contains_key(&Key::Front(front(2))), "not even a part of it");
        let findings: Vec<String> =
            world.backend.findings().iter().map(ToString::to_string).collect();
        assert!(
            matches!(findings.as_slice(), [one] if one.contains("service a/s2 are refused")),
            "{findings:?}"
        );

        world.plan(4, &["10.0.0.1"]);
        assert!(!world.sync().await.full);
        world.assert_in_place();
        assert_eq!(world.backend.findings().len(), 1);

        // It keeps being refused when it comes anew in a small change.
        world.plan(2, &["10.0.0.1"]);
        world.sync().await;
        assert_eq!(world.backend.findings().len(), 1);
        world.assert_in_place();

        let gone = port_facts(&service("a/s2"), &slice("a/s2"), FAMILY).0;
        world.backend.plan_service(&gone, &[]);
        world.sync().await;
        assert_eq!(world.backend.findings().len(), 0);
    }
}

#[tokio::test]
async fn changed_context_is_compared_as_a_whole() {
    let mut world = World::new();
    world.plan(1, &["10.0.0.1"]);
    world.sync().await;
    let mut context = rule_context(FAMILY);
    world.backend.set_context(&context);
    assert!(!world.backend.needs_full(), "nothing is different");
    context.masquerading.mark = 1 << 15;
    world.backend.set_context(&context);
    world.plan(1, &["10.0.0.1"]);
    assert!(world.sync().await.full);
    world.assert_in_place();
}

//! One list of cases for the fake and for the real nftables, so that the fake cannot drift.
//!
//! Needs root. A namespace lives as long as the thread that made it, so nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kernel {
    #[expect(dead_code, reason = "there are no pods here")]
    pub mod network;
}

use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::network::{in_namespace, run};
use netproxy::config::IpFamily;
use netproxy::input::Protocol;
use netproxy::interference::OwnWriters;
use netproxy::nftables::diff::ElementChange;
use netproxy::nftables::plan::assemble;
use netproxy::nftables::state::{Entry, Key, SetName, Value};
use netproxy::nftables::{
    LiveTable, Nft, NftCommand, NftDiff, NftError, NftState, TableContext, diff,
};
use netproxy::testing::{
    FakeNft, ServiceBuilder, SliceBuilder, port_facts, rule_context, service, slice,
};

const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

/// Services of every kind with their pods, so that every kind of key and value is written.
fn services(family: IpFamily) -> Vec<(ServiceBuilder, SliceBuilder)> {
    let web = |name: &str, last: u8| {
        service(name)
            .cluster_ip(&format!("172.30.0.{last}"))
            .cluster_ip(&format!("fd00:172::{last}"))
            .port("web", Protocol::Tcp, 80)
    };
    let open = |built: ServiceBuilder, last: u8| {
        built
            .node_port(30_000 + u16::from(last))
            .external_ip(&format!("192.168.99.{last}"))
            .external_ip(&format!("2001:db8:99::{last}"))
            .load_balancer_ip(&format!("1.2.3.{last}"))
            .load_balancer_ip(&format!("2001:db8:1::{last}"))
    };
    let pods = |name: &str| {
        let built = slice(name).port("web", Protocol::Tcp, 8080).port("dns", Protocol::Udp, 53);
        match family {
            _ if name == "a/empty" => built,
            IpFamily::V4 => built.local("10.0.0.5").endpoint("10.0.1.6").endpoint("10.0.1.7"),
            IpFamily::V6 => built.local("fd00:10::5").endpoint("fd00:10::6").endpoint("fd00:10::7"),
        }
    };
    let built = [
        ("a/plain", web("a/plain", 1).port("dns", Protocol::Udp, 53)),
        ("a/empty", web("a/empty", 2)),
        (
            "a/open",
            open(web("a/open", 3), 3).source_range("203.0.113.0/25").source_range("2001:db8::/64"),
        ),
        ("a/local", open(web("a/local", 4), 4).external_local()),
        ("a/sticky", open(web("a/sticky", 5), 5).affinity(60)),
        ("a/inner", web("a/inner", 6).internal_local().affinity(10_800)),
    ];
    built.into_iter().map(|(name, built)| (built, pods(name))).collect()
}

fn table(family: IpFamily, services: &[(ServiceBuilder, SliceBuilder)]) -> NftState {
    let facts: Vec<_> =
        services.iter().map(|(service, slice)| port_facts(service, slice, family)).collect();
    let context = TableContext::new(&rule_context(family));
    assemble(context, facts.iter().map(|(key, ports)| (key, ports.as_slice())))
}

async fn assert_live(nft: &dyn Nft, wanted: &NftState) {
    match nft.read().await.unwrap() {
        LiveTable::Ours(live) => {
            let difference = diff(&live, wanted);
            assert!(difference.is_empty(), "{difference:#?}");
        }
        other => panic!("{other:?}"),
    }
}

/// What every implementation does.
async fn cases(nft: &dyn Nft, family: IpFamily) {
    assert!(!nft.exists().await.unwrap());
    assert_eq!(nft.read().await.unwrap(), LiveTable::Missing);
    assert!(!nft.remove().await.unwrap(), "there is nothing to remove");
    assert!(nft.version().await.unwrap().major >= 1);

    let (none, all) = (table(family, &[]), table(family, &services(family)));
    assert!(all.element_count() > 40, "{}", all.element_count());
    nft.replace(&all).await.unwrap();
    assert!(nft.exists().await.unwrap());
    assert_live(nft, &all).await;
    nft.replace(&none).await.unwrap();
    assert_live(nft, &none).await;

    // Chains first, then each element alone, and back.
    let mut forth = diff(&none, &all);
    let elements = std::mem::take(&mut forth.elements);
    nft.update(&forth).await.unwrap();
    nft.update(&NftDiff { elements: elements.clone(), ..NftDiff::default() }).await.unwrap();
    assert_live(nft, &all).await;
    replaced_elements_are_written(nft, &all).await;
    refusals_change_nothing(nft, &all).await;

    let gone = elements.keys().map(|element| (*element, ElementChange::Removed)).collect();
    nft.update(&NftDiff { elements: gone, ..NftDiff::default() }).await.unwrap();
    let back = diff(&all, &none);
    let emptied = NftDiff { gone_chains: back.gone_chains.clone(), ..NftDiff::default() };
    nft.update(&emptied).await.unwrap();
    nft.delete_chains(&back.gone_chains).await.unwrap();
    assert_live(nft, &none).await;
    // The same with one transaction, as it comes from a comparison.
    nft.update(&diff(&none, &all)).await.unwrap();
    assert_live(nft, &all).await;
    nft.update(&back).await.unwrap();
    nft.delete_chains(&back.gone_chains).await.unwrap();
    assert_live(nft, &none).await;

    assert!(nft.remove().await.unwrap());
    assert_eq!(nft.read().await.unwrap(), LiveTable::Missing);
    assert!(nft.update(&forth).await.unwrap_err().refused(), "there is no table");
}

async fn replaced_elements_are_written(nft: &dyn Nft, all: &NftState) {
    for (set, elements) in &all.sets {
        let Some((key, entry)) = elements.first_key_value() else { continue };
        let other = Entry {
            value: entry.value.clone(),
            comment: Some("another: remark, with \u{fc}".into()),
        };
        for entry in [&other, entry] {
            let change = ElementChange::Replaced(entry.clone());
            let elements = [((*set, *key), change)].into();
            nft.update(&NftDiff { elements, ..NftDiff::default() }).await.unwrap();
        }
    }
    assert_live(nft, all).await;
}

async fn refusals_change_nothing(nft: &dyn Nft, all: &NftState) {
    let (there, entry) = all.sets[&SetName::ServiceIps].first_key_value().unwrap();
    let (there, entry) = (*there, entry.clone());
    let missing = Key::NodePort(Protocol::Sctp, 1);
    let lost = Entry { value: Value::Goto("no-such-chain".into()), comment: None };
    let good = Key::NodePort(Protocol::Sctp, 2);
    let drop = Entry { value: Value::Drop, comment: None };
    let good = ((SetName::NoEndpointNodePorts, good), ElementChange::Added(drop));
    let (ips, ports) = (SetName::ServiceIps, SetName::NoEndpointNodePorts);
    let refused = [
        ((ips, there), ElementChange::Added(Entry { value: Value::Drop, ..entry.clone() })),
        ((ports, missing), ElementChange::Removed),
        ((ports, missing), ElementChange::Added(lost)),
    ];
    for (element, change) in refused {
        let elements = [good.clone(), (element, change.clone())].into();
        let error = nft.update(&NftDiff { elements, ..NftDiff::default() }).await.unwrap_err();
        match error {
            NftError::Refused { refused, changes: 2, .. } => {
                assert_eq!(refused, BTreeSet::from([element]), "{change:?}");
            }
            // A missing chain may be told for the whole.
            error => assert!(error.refused(), "{error}"),
        }
        assert_live(nft, all).await;
    }
    let used: BTreeSet<_> = [match &entry.value {
        Value::Goto(chain) => chain.clone(),
        other => panic!("{other:?}"),
    }]
    .into();
    assert!(nft.delete_chains(&used).await.unwrap_err().refused(), "an element leads to it");
    let unknown = ["no-such-chain".into()].into();
    assert!(nft.delete_chains(&unknown).await.unwrap_err().refused());
    assert_live(nft, all).await;
}

#[tokio::test]
async fn fake_keeps_the_contract() {
    for family in FAMILIES {
        cases(&*FakeNft::new(family), family).await;
    }
}

#[test]
fn kernel_keeps_the_contract() {
    in_namespace(async || {
        for family in FAMILIES {
            cases(&NftCommand::new(family, OwnWriters::default()), family).await;
        }
    });
}

#[test]
fn tables_of_others_and_of_other_layouts_are_told_apart() {
    in_namespace(async || {
        let nft: Arc<dyn Nft> = Arc::new(NftCommand::new(IpFamily::V4, OwnWriters::default()));
        run("nft", &["add", "table", "ip", "somebody-else"]);
        run("nft", &["add", "table", "ip6", "kube-proxy"]);
        assert_eq!(nft.read().await.unwrap(), LiveTable::Missing);
        run("nft", &["add", "table", "ip", "kube-proxy"]);
        run("nft", &["add", "chain", "ip", "kube-proxy", "service-ULMVA6XW-ns1/svc1/tcp/p80"]);
        assert!(matches!(nft.read().await.unwrap(), LiveTable::Foreign(_)));
        assert!(nft.remove().await.unwrap());
        let left = run("nft", &["list", "tables"]);
        assert_eq!(left, "table ip somebody-else\ntable ip6 kube-proxy\n");
    });
}

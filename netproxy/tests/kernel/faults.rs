//! Rules that somebody flushes, writes that fail, a lock that somebody holds.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use netproxy::ServiceChange;
use netproxy::config::{IpFamily, ProxyConfig};
use netproxy::input::Protocol;

use crate::ask::LOST;
use crate::fixture::{FROM_OUTSIDE, Way, external, many, running};
use crate::mode::{Mode, in_every_mode};
use crate::network::run;
use crate::proxy::{RunningProxy, clean_up, config, eventually, this_node};
use crate::recorder::{Fault, Steps};
use crate::rules::{difference, iptables, live, live_foreign, nft_family, plant_foreign_rules};
use crate::topology::{CLIENT, FAMILIES, FAR_A, FAR_B, NEAR_A, NEAR_B, NODE, Network, Place};

/// Longest time until flushed rules are back.
const MENDED: Duration = Duration::from_secs(2);

/// Whether a new connection is answered at once.
async fn answers(network: &Network, from: Place, to: SocketAddr) -> bool {
    network.ask_from(from, None, Protocol::Tcp, to, LOST).await.is_ok()
}

/// Something that somebody does to our rules.
type Damage = (&'static str, fn(IpFamily));

const FLUSHED: Damage = ("all tables are flushed and their chains deleted", |family| {
    for table in ["nat", "filter", "mangle"] {
        run(iptables(family), &["-t", table, "-F"]);
        run(iptables(family), &["-t", table, "-X"]);
    }
});
const RULESET: Damage = ("nft flush ruleset", |_| drop(run("nft", &["flush", "ruleset"])));
const TABLES: Damage = ("the tables of iptables are deleted", |family| {
    for table in ["nat", "filter", "mangle"] {
        run("nft", &["delete", "table", nft_family(family), table]);
    }
});
const OWN_TABLE: Damage = ("our table is deleted", |family| {
    run("nft", &["delete", "table", nft_family(family), "kube-proxy"]);
});

const NAT: Damage = ("the nat table is flushed", |family| {
    run(iptables(family), &["-t", "nat", "-F"]);
});
const SERVICES: Damage = ("a chain of ours is emptied", |family| {
    run(iptables(family), &["-t", "nat", "-F", "KUBE-SERVICES"]);
});
const JUMPS: Damage = ("the jumps to our chains are deleted", |family| {
    run(iptables(family), &["-t", "nat", "-F", "PREROUTING"]);
});
const NFT_CHAIN: Damage = ("a chain of our table is emptied", |family| {
    run("nft", &["flush", "chain", nft_family(family), "kube-proxy", "services"]);
});
const NFT_MAP: Damage = ("a map of our table is emptied", |family| {
    run("nft", &["flush", "map", nft_family(family), "kube-proxy", "service-ips"]);
});

/// What is done, and how often the proxy looks for lost rules by itself.
fn damages(mode: Mode) -> (&'static [Damage], Duration) {
    const NEVER: Duration = Duration::from_secs(3600);
    match mode {
        Mode::Iptables => (&[FLUSHED, NAT, SERVICES, JUMPS, RULESET, TABLES], NEVER),
        // Runs of this flavour are told apart by process, and tests are of one process. So the
        // look has to do.
        Mode::LegacyIptables => (&[FLUSHED], Duration::from_secs(1)),
        Mode::Nftables => (&[RULESET, OWN_TABLE, NFT_CHAIN, NFT_MAP], NEVER),
    }
}

async fn flushed_rules_come_back_while_clients_keep_coming(mode: Mode) {
    let network = Network::build();
    let (damages, sync_period) = damages(mode);
    let settings = ProxyConfig { sync_period, ..config(mode) };
    let mut proxy = RunningProxy::configured(mode, settings).await;
    proxy.relist(running(external(1), 1, &[NEAR_A, FAR_A])).await;
    let before = FAMILIES.map(live);
    let targets = FAMILIES.map(|family| Way::ClusterIp.to(family, 1));
    let mut load = network.impatient_load(CLIENT, &targets, LOST);
    for (what, damage) in damages {
        load.goes_on().await;
        FAMILIES.into_iter().for_each(damage);
        for family in FAMILIES {
            for way in [Way::ClusterIp].into_iter().chain(FROM_OUTSIDE) {
                let to = way.to(family, 1);
                let back = async || answers(&network, CLIENT, to).await;
                eventually(&format!("{to} answers after {what}"), MENDED, back).await;
            }
        }
        load.goes_on().await;
        for (family, before) in FAMILIES.into_iter().zip(&before) {
            eventually("every rule is back", MENDED, async || {
                difference(before, &live(family)).is_empty()
            })
            .await;
        }
    }
    proxy.stop().await;
}

fn shop(number: u8) -> Vec<ServiceChange> {
    let mut changes = running(external(1), 1, &[NEAR_A, FAR_A]);
    changes.extend(running(external(number), number, &[FAR_B]));
    // Others in each shop, so that many of them change too.
    changes.extend(many(number * 50..number * 50 + 49, FAR_B));
    changes
}

async fn writes_that_fail_now_and_then_change_nothing_in_the_end(mode: Mode) {
    let network = Network::build();
    plant_foreign_rules();
    let foreign = FAMILIES.map(live_foreign);
    let mut first = RunningProxy::start(mode).await;
    first.relist(shop(2)).await;
    first.stop().await;

    let failing = Steps::with(|number| (number % 2 == 0).then_some(Fault::Fails));
    let mut proxy = RunningProxy::watched(mode, config(mode), failing).await;
    let targets = FAMILIES.map(|family| Way::ClusterIp.to(family, 1));
    let mut load = network.load(CLIENT, &targets);
    for number in [3, 4] {
        proxy.tell_list(this_node(), shop(number)).await;
        for family in FAMILIES {
            let to = Way::ClusterIp.to(family, number);
            let limit = Duration::from_secs(10);
            let known = async || answers(&network, CLIENT, to).await;
            eventually(&format!("{to} is known"), limit, known).await;
        }
        proxy.recovers().await;
        load.goes_on().await;
    }
    assert_eq!(foreign, FAMILIES.map(live_foreign));
    assert!(proxy.steps().taken() > 4, "nothing failed");
    load.ends_without_failure();
    proxy.stop().await;

    let mut again = RunningProxy::start(mode).await;
    again.relist(shop(4)).await;
    assert_eq!(again.steps().taken(), 0, "something was left to write");
    again.stop().await;
    assert!(clean_up(mode).await);
    assert_eq!(foreign, FAMILIES.map(live_foreign));
}

/// Only this flavour has a lock.
async fn rules_stay_while_somebody_holds_the_lock(mode: Mode) {
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(shop(2)).await;
    let targets = FAMILIES.map(|family| Way::ClusterIp.to(family, 1));
    let mut load = network.load(NEAR_B, &targets);
    let before = FAMILIES.map(live);

    let lock = File::create("/run/xtables.lock").unwrap();
    lock.lock().unwrap();
    proxy.tell(running(external(3), 3, &[FAR_B])).await;
    proxy.fails().await;
    load.goes_on().await;
    for to in FAMILIES.map(|family| Way::ClusterIp.to(family, 3)) {
        assert!(!answers(&network, NODE, to).await, "{to} cannot be known yet");
    }
    for (family, before) in FAMILIES.into_iter().zip(&before) {
        assert_eq!(difference(before, &live(family)), [""; 0]);
    }
    lock.unlock().unwrap();

    proxy.recovers().await;
    for to in FAMILIES.map(|family| Way::ClusterIp.to(family, 3)) {
        assert!(answers(&network, NODE, to).await, "{to} is not known");
    }
    load.ends_without_failure();
    proxy.stop().await;
}

in_every_mode!(
    flushed_rules_come_back_while_clients_keep_coming,
    writes_that_fail_now_and_then_change_nothing_in_the_end,
);

#[test]
fn legacy_iptables_waits_for_its_lock_and_tries_again() {
    crate::mode::on_a_node(Mode::LegacyIptables, rules_stay_while_somebody_holds_the_lock);
}

//! What is written when the proxy starts again, and what its cleanup leaves.

use std::time::Duration;

use netproxy::ServiceChange;
use netproxy::config::IpFamily;
use netproxy::input::Protocol;
use netproxy::testing::{service, slice};

use crate::fixture::{FROM_OUTSIDE, Way, external, running};
use crate::mode::{Mode, in_every_mode, in_modes_of_iptables};
use crate::proxy::{RunningProxy, clean_up, eventually};
use crate::rules::{difference, live, live_foreign, live_nat, plant_foreign_rules};
use crate::topology::{CLIENT, FAMILIES, FAR_A, FAR_B, NEAR_A, Network};

/// Longest time until rules of another mode are removed.
const CLEANED: Duration = Duration::from_secs(10);

fn watcher() -> [ServiceChange; 2] {
    let service = service("default/crd-array-watcher").cluster_ip("10.96.10.1");
    let slice = slice("default/crd-array-watcher").port("", Protocol::Tcp, 8080);
    [service.port("", Protocol::Tcp, 443).applied(), slice.endpoint("10.244.0.35").applied()]
}

fn one_of_each_kind() -> Vec<ServiceChange> {
    let mut changes = watcher().to_vec();
    changes.push(
        service("kube-system/kube-dns")
            .cluster_ip("10.96.0.53")
            .port("dns", Protocol::Udp, 53)
            .port("metrics", Protocol::Tcp, 9153)
            .applied(),
    );
    changes.push(
        slice("kube-system/kube-dns")
            .port("dns", Protocol::Udp, 8080)
            .port("metrics", Protocol::Tcp, 9153)
            .endpoint("10.244.0.2")
            .applied(),
    );
    let affine = external(1).affinity(60).external_local().source_range("10.0.1.0/24");
    changes.extend(running(affine, 1, &[NEAR_A, FAR_A]));
    changes.extend(running(external(2), 2, &[]));
    changes.extend(running(external(3).health_check(32_003).external_local(), 3, &[FAR_B]));
    changes
}

async fn a_restart_writes_nothing_when_nothing_changed(mode: Mode) {
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(one_of_each_kind()).await;
    assert!(proxy.steps().taken() > 0);
    let before = FAMILIES.map(live);
    let first = proxy.steps().taken();
    proxy.relist(one_of_each_kind()).await;
    assert_eq!(proxy.steps().taken(), first, "an equal list must write nothing");
    proxy.stop().await;

    let mut again = RunningProxy::start(mode).await;
    again.relist(one_of_each_kind()).await;
    assert_eq!(again.steps().taken(), 0, "a restart must write nothing");
    assert_eq!(before, FAMILIES.map(live));
    again.stop().await;
}

async fn chains_have_their_known_names_and_stale_ones_go(mode: Mode) {
    let known = [
        "KUBE-SVC-HW2XM7FRY33HEVYM",
        "KUBE-SEP-PLQTWCYKKRRVAV4U",
        "KUBE-SVC-TCOU7JCQXEZGVUNU",
        "KUBE-SVC-JD5MR3NA4I4DYORP",
    ];
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(one_of_each_kind()).await;
    let nat = live_nat(IpFamily::V4);
    for name in known {
        assert!(nat.contains(&format!(":{name} ")), "{name} is missing:\n{nat}");
    }
    proxy.stop().await;

    let mut again = RunningProxy::start(mode).await;
    again.relist(watcher().to_vec()).await;
    let nat = live_nat(IpFamily::V4);
    assert!(!nat.contains("TCOU7JCQXEZGVUNU"), "stale chains are left:\n{nat}");
    assert!(nat.contains("HW2XM7FRY33HEVYM"));
    again.stop().await;
}

async fn connections_go_on_through_restarts_with_and_without_changes(mode: Mode) {
    let network = Network::build();
    let unchanged = || running(external(1), 1, &[NEAR_A, FAR_A, FAR_B]);
    let with = |number| {
        let mut changes = unchanged();
        changes.extend(running(external(number), number, &[FAR_A]));
        changes
    };
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(with(2)).await;
    let ways = [Way::ClusterIp].into_iter().chain(FROM_OUTSIDE);
    let targets: Vec<_> = ways.flat_map(|way| FAMILIES.map(|family| way.to(family, 1))).collect();
    let mut load = network.load(CLIENT, &targets);
    load.goes_on().await;
    for number in [2, 3, 3, 4] {
        proxy.stop().await;
        load.goes_on().await;
        proxy = RunningProxy::start(mode).await;
        proxy.relist(with(number)).await;
        load.goes_on().await;
    }
    load.ends_without_failure();
    proxy.stop().await;
}

/// Whether rules of a mode are live.
fn is_live(mode: Mode) -> bool {
    let word = if mode == Mode::Nftables { "table ip" } else { "KUBE-SVC-" };
    FAMILIES.iter().any(|family| live(*family).iter().any(|line| line.contains(word)))
}

/// From the mode of the test to another and back.
async fn connections_go_on_while_the_mode_changes(mode: Mode) {
    let network = Network::build();
    let other = if mode == Mode::Nftables { Mode::Iptables } else { Mode::Nftables };
    let services = || running(external(1), 1, &[NEAR_A, FAR_A, FAR_B]);
    let mut proxy = RunningProxy::deployed(mode).await;
    proxy.relist(services()).await;
    let ways = [Way::ClusterIp].into_iter().chain(FROM_OUTSIDE);
    let targets: Vec<_> = ways.flat_map(|way| FAMILIES.map(|family| way.to(family, 1))).collect();
    let mut load = network.load(CLIENT, &targets);
    for (last, next) in [(mode, other), (other, mode)] {
        load.goes_on().await;
        proxy.stop().await;
        proxy = RunningProxy::deployed(next).await;
        proxy.relist(services()).await;
        load.goes_on().await;
        eventually("what the last mode left is gone", CLEANED, async || !is_live(last)).await;
        assert!(is_live(next));
        load.goes_on().await;
    }
    load.ends_without_failure();
    proxy.stop().await;
}

async fn rules_of_others_stay_as_they_are_and_cleanup_removes_ours(mode: Mode) {
    plant_foreign_rules();
    let before = FAMILIES.map(live);
    let foreign = FAMILIES.map(live_foreign);
    assert!(foreign.iter().all(|lines| lines.len() > 10), "{foreign:?}");
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(one_of_each_kind()).await;
    assert_ne!(before, FAMILIES.map(live));
    assert_eq!(foreign, FAMILIES.map(live_foreign));
    proxy.relist(watcher().to_vec()).await;
    assert_eq!(foreign, FAMILIES.map(live_foreign));
    proxy.stop().await;
    assert!(clean_up(mode).await);
    assert!(!clean_up(mode).await, "nothing is left to clean");
    for (family, before) in FAMILIES.into_iter().zip(&before) {
        let after = live(family);
        assert_eq!(*before, after, "{family}: {:#?}", difference(before, &after));
    }
}

in_every_mode!(
    a_restart_writes_nothing_when_nothing_changed,
    connections_go_on_through_restarts_with_and_without_changes,
    connections_go_on_while_the_mode_changes,
    rules_of_others_stay_as_they_are_and_cleanup_removes_ours,
);

in_modes_of_iptables!(chains_have_their_known_names_and_stale_ones_go);

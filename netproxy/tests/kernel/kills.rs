//! A proxy that is killed between two steps of a sync, at every place where that can be.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use netproxy::ServiceChange;
use netproxy::input::Protocol;

use crate::fixture::{FROM_OUTSIDE, Way, external, many, running};
use crate::mode::{Mode, in_every_mode};
use crate::network::run;
use crate::proxy::{RunningProxy, clean_up, config};
use crate::recorder::{Fault, Steps};
use crate::rules::{difference, iptables, live};
use crate::topology::{CLIENT, FAMILIES, FAR_A, FAR_B, NEAR_A, NEAR_B, NODE, Network};

/// Tells the child before which step it dies.
const DIES_AT: &str = "NETPROXY_TEST_DIES_AT";
/// Tells the child its back end.
const MODE: &str = "NETPROXY_TEST_MODE";
/// The child's name for the test harness.
const CHILD: &str = "kills::a_child_of_these_tests_dies_when_told";
/// More steps than a sync of these services takes.
const ENDLESS: usize = 200;

fn before() -> Vec<ServiceChange> {
    let mut changes = running(external(1), 1, &[NEAR_A]);
    changes.extend(many(10..70, FAR_A));
    changes
}

/// Other services but one, which has another endpoint more.
fn after() -> Vec<ServiceChange> {
    let mut changes = running(external(1), 1, &[NEAR_A, FAR_B]);
    changes.extend(many(110..170, FAR_A));
    changes
}

#[test]
fn a_child_of_these_tests_dies_when_told() {
    let Ok(dies_at) = std::env::var(DIES_AT) else { return };
    let dies_at: usize = dies_at.parse().unwrap();
    let mode = Mode::named(&std::env::var(MODE).unwrap()).unwrap();
    let steps = Steps::with(move |number| (number == dies_at).then_some(Fault::Dies));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut proxy = RunningProxy::watched(mode, config(mode), steps).await;
        proxy.relist(after()).await;
        proxy.stop().await;
    });
}

/// Syncs in a child process to [`after`]; whether it was killed before that step.
async fn killed_at(mode: Mode, step: usize) -> bool {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([CHILD, "--exact"])
        .env(DIES_AT, step.to_string())
        .env(MODE, format!("{mode:?}"))
        .output();
    let child = child.unwrap();
    let killed = child.status.signal() == Some(nix::sys::signal::SIGKILL as i32);
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(killed || child.status.success(), "{}: {told}", child.status);
    killed
}

async fn sync(mode: Mode, services: Vec<ServiceChange>) {
    let mut proxy = RunningProxy::start(mode).await;
    proxy.relist(services).await;
    proxy.stop().await;
}

async fn answer(network: &Network, number: u8, when: &str) {
    for family in FAMILIES {
        let to = Way::ClusterIp.to(family, number);
        for from in [NEAR_B, NODE] {
            let answer = network.ask(from, Protocol::Tcp, to).await;
            assert!(answer.is_ok(), "{from:?} to {to} {when}: {answer:?}");
        }
    }
}

/// Kills the proxy before each step of a sync that begins where `begin` leaves the rules. After
/// each of them `check` looks, and a restart brings everything.
async fn kill_everywhere(
    mode: Mode,
    network: &Network,
    begin: impl AsyncFn(),
    check: impl AsyncFn(usize),
) {
    sync(mode, after()).await;
    let wanted = FAMILIES.map(live);
    let mut kills = 0;
    for step in 1..ENDLESS {
        begin().await;
        if !killed_at(mode, step).await {
            break;
        }
        kills += 1;
        check(step).await;
        sync(mode, after()).await;
        for (family, wanted) in FAMILIES.into_iter().zip(&wanted) {
            let found = live(family);
            let missing = difference(wanted, &found);
            assert!(missing.is_empty(), "{family}, killed before step {step}: {missing:#?}");
        }
        answer(network, 110, &format!("after a restart, killed before step {step}")).await;
    }
    assert!((2..ENDLESS - 1).contains(&kills), "{kills} kills");
}

async fn services_outlive_a_proxy_killed_between_two_steps_of_a_change(mode: Mode) {
    let network = Network::build();
    sync(mode, before()).await;
    let ways = [Way::ClusterIp].into_iter().chain(FROM_OUTSIDE);
    let targets: Vec<_> = ways.flat_map(|way| FAMILIES.map(|family| way.to(family, 1))).collect();
    let mut load = network.load(CLIENT, &targets);
    let begin = async || {
        sync(mode, before()).await;
        // Connections do not need these rules of iptables; their return may be a step.
        for family in FAMILIES.into_iter().filter(|_| mode != Mode::Nftables) {
            for chain in ["INPUT", "FORWARD", "OUTPUT"] {
                run(iptables(family), &["-t", "filter", "-F", chain]);
            }
        }
    };
    let check = async |step| answer(&network, 1, &format!("after a kill before {step}")).await;
    kill_everywhere(mode, &network, begin, check).await;
    load.goes_on().await;
    load.ends_without_failure();
}

async fn a_first_sync_killed_between_two_steps_is_completed_by_the_next(mode: Mode) {
    let network = Network::build();
    let begin = async || {
        clean_up(mode).await;
    };
    kill_everywhere(mode, &network, begin, async |_| ()).await;
}

in_every_mode!(
    services_outlive_a_proxy_killed_between_two_steps_of_a_change,
    a_first_sync_killed_between_two_steps_is_completed_by_the_next,
);

//! Changes of others on the real kernel, in network namespaces made for the test.
//!
//! Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kernel {
    #[expect(dead_code, reason = "there are no pods here")]
    pub mod network;
}

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kernel::network::{in_namespace, run};
use netproxy::interference::{
    Interest, LockFileWatch, NetlinkWatch, OwnWriters, RuleEvent, RuleWatch,
};
use tokio::time::timeout;

/// A flush has to be noticed within so long.
const SOON: Duration = Duration::from_secs(1);

/// A child of this test, as netproxy starts its own.
fn run_as_own(own: &OwnWriters, command: &str, arguments: &[&str]) {
    let run = own.run();
    let mut child = Command::new(command).args(arguments).stdin(Stdio::null()).spawn().unwrap();
    own.note(child.id());
    assert!(child.wait().unwrap().success(), "{command} {arguments:?}");
    drop(run);
}

async fn told(watch: &mut dyn RuleWatch) -> String {
    timeout(SOON, watch.next()).await.expect("nothing was told within a second").to_string()
}

/// What was told must be the foreign change that comes last; anything before it would be ours.
async fn assert_told(watch: &mut dyn RuleWatch, command: &str, arguments: &[&str], place: &str) {
    run(command, arguments);
    let text = told(watch).await;
    assert!(text.contains(place), "{command} {arguments:?} was told as: {text}");
    let name: String = command.chars().take(15).collect();
    assert!(text.starts_with(&name) && text.contains("(pid "), "{text}");
}

#[test]
fn foreign_changes_of_the_nft_flavour_are_told_and_own_ones_are_not() {
    in_namespace(async || {
        let own = OwnWriters::default();
        let mut watch = NetlinkWatch::open(Interest::Iptables, own.clone()).unwrap();
        let ours = |arguments: &str| {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            run_as_own(&own, "iptables-nft", &arguments);
        };
        ours("-t nat -N KUBE-SVC-AAAAAAAAAAAAAAAA");
        ours("-t nat -N KUBE-SERVICES");
        ours("-t nat -I PREROUTING -j KUBE-SERVICES");
        ours("-t nat -A KUBE-SERVICES -d 10.0.0.1 -j RETURN");
        ours("-t nat -D KUBE-SERVICES -d 10.0.0.1 -j RETURN");
        ours("-t nat -A KUBE-SERVICES -d 10.0.0.1 -j RETURN");
        // What a network plugin does for each pod.
        run("iptables-nft", &["-t", "nat", "-N", "CNI-1"]);
        run("iptables-nft", &["-t", "nat", "-A", "POSTROUTING", "-j", "CNI-1"]);
        run("iptables-nft", &["-t", "nat", "-D", "POSTROUTING", "-j", "CNI-1"]);
        run("iptables-nft", &["-t", "nat", "-X", "CNI-1"]);

        let nat = |rest: &str| format!("-t nat {rest}");
        for (arguments, place) in [
            (nat("-X KUBE-SVC-AAAAAAAAAAAAAAAA"), "deleted chains in table ip nat"),
            (nat("-D PREROUTING -j KUBE-SERVICES"), "deleted rules in table ip nat"),
            (nat("-F"), "deleted rules in table ip nat"),
        ] {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            assert_told(&mut watch, "iptables-nft", &arguments, place).await;
        }
        assert_told(&mut watch, "nft", &["flush", "ruleset"], "deleted the table").await;
    });
}

#[test]
fn foreign_changes_of_our_table_are_told_and_own_ones_are_not() {
    in_namespace(async || {
        let own = OwnWriters::default();
        let mut watch = NetlinkWatch::open(Interest::Nftables, own.clone()).unwrap();
        let build = || {
            for table in [["ip", "kube-proxy"], ["ip6", "kube-proxy"], ["ip", "somebody-else"]] {
                let [family, name] = table;
                run_as_own(&own, "nft", &["add", "table", family, name]);
                run_as_own(&own, "nft", &["add", "chain", family, name, "services"]);
            }
        };
        build();
        run("nft", &["delete", "table", "ip", "somebody-else"]);
        let table = ["ip", "kube-proxy"];
        let cases: [(&[&str], &str); 4] = [
            (&["add", "rule", table[0], table[1], "services", "drop"], "added rules in table ip k"),
            (&["flush", "chain", table[0], table[1], "services"], "deleted rules in table ip k"),
            (&["delete", "table", table[0], table[1]], "deleted the table"),
            (&["flush", "ruleset"], "in table ip6 kube-proxy"),
        ];
        for (arguments, place) in cases {
            assert_told(&mut watch, "nft", arguments, place).await;
        }
    });
}

#[test]
fn legacy_runs_of_others_are_told_and_own_ones_are_not() {
    in_namespace(async || {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("xtables.lock");
        let legacy = |file: &Path, arguments: &[&str]| {
            let status = Command::new("iptables-legacy")
                .args(arguments)
                .env("XTABLES_LOCKFILE", file)
                .status()
                .unwrap();
            assert!(status.success());
        };
        let own = OwnWriters::default();
        let mut watch = LockFileWatch::open(&file, own.clone()).unwrap();
        // The lock file does not exist before the first run.
        legacy(&file, &["-t", "nat", "-F"]);
        assert_eq!(timeout(SOON, watch.next()).await, Ok(RuleEvent::LegacyRun));

        let ours = own.run();
        legacy(&file, &["-t", "nat", "-N", "KUBE-SERVICES"]);
        drop(ours);
        // A look at what a single foreign run changed, and not at ours.
        let quiet = timeout(Duration::from_millis(300), watch.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");

        legacy(&file, &["-t", "nat", "-X"]);
        assert_eq!(timeout(SOON, watch.next()).await, Ok(RuleEvent::LegacyRun));
        let quiet = timeout(Duration::from_millis(300), watch.next()).await;
        assert!(quiet.is_err(), "one run was told twice: {quiet:?}");
    });
}

#[test]
fn overrun_of_notifications_is_told_as_missed_or_in_full() {
    in_namespace(async || {
        let mut watch = NetlinkWatch::open(Interest::Nftables, OwnWriters::default()).unwrap();
        run("nft", &["add", "table", "ip", "kube-proxy"]);
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("many");
        let mut text = String::from("add set ip kube-proxy many { type ipv4_addr; }\n");
        for high in 0..=255_u8 {
            let row: Vec<String> = (0..=255_u8).map(|low| format!("10.0.{high}.{low}")).collect();
            text.push_str(&format!("add element ip kube-proxy many {{ {} }}\n", row.join(", ")));
        }
        std::fs::write(&input, text).unwrap();
        run("nft", &["-f", input.to_str().unwrap()]);
        let whole_truth = async {
            loop {
                let event = watch.next().await;
                let complete = event.to_string().contains("added elements");
                if complete || event == RuleEvent::Missed {
                    return;
                }
            }
        };
        timeout(SOON * 2, whole_truth).await.expect("neither the elements nor the loss were told");
    });
}

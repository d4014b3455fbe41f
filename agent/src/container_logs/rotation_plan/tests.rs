use proptest::prelude::*;

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn now() -> Timestamp {
    "2026-01-02T15:04:05.9Z".parse().unwrap()
}

fn plan(there: &[&str], max_files: usize) -> RotationPlan {
    plan_rotation("0.log", &names(there), max_files, now())
}

#[test]
fn first_rotation_only_renames() {
    let wanted = RotationPlan {
        remove: vec![],
        compress: vec![],
        rotated: "0.log.20260102-150405".to_owned(),
    };
    assert_eq!(plan(&["0.log"], 5), wanted);
    assert_eq!(plan(&["0.log", "1.log", "1.log.20260102-150404", "0.logs", "x"], 5), wanted);
}

#[test]
fn what_was_rotated_is_compressed_and_the_oldest_go() {
    let there = [
        "0.log",
        "0.log.20260101-000004",
        "0.log.20260101-000002.gz",
        "0.log.20260101-000001.gz",
        "0.log.20260101-000003.gz",
    ];
    let plan = plan(&there, 5);
    assert_eq!(plan.remove, ["0.log.20260101-000001.gz"]);
    assert_eq!(plan.compress, ["0.log.20260101-000004"]);
}

#[test]
fn two_files_leave_none_beside_the_newest() {
    let plan = plan(&["0.log", "0.log.20260101-000001.gz", "0.log.20260101-000002"], 2);
    assert_eq!(plan.remove, ["0.log.20260101-000001.gz", "0.log.20260101-000002"]);
    assert!(plan.compress.is_empty());
}

#[test]
fn remains_of_a_rotation_that_was_cut_short_are_cleaned() {
    let there = [
        "0.log",
        "0.log.20260101-000001.tmp",
        "0.log.20260101-000002",
        "0.log.20260101-000002.gz",
        "0.log.20260101-000003",
    ];
    let plan = plan(&there, 5);
    assert_eq!(plan.remove, ["0.log.20260101-000001.tmp", "0.log.20260101-000002"]);
    assert_eq!(plan.compress, ["0.log.20260101-000003"]);
}

#[test]
fn new_name_is_later_than_all_others() {
    for (there, wanted) in [
        ("0.log.20260102-150404", "0.log.20260102-150405"),
        ("0.log.20260102-150405", "0.log.20260102-150406"),
        ("0.log.20260102-150405.gz", "0.log.20260102-150406"),
        ("0.log.20260102-235959", "0.log.20260103-000000"),
        ("0.log.99999999-999999", "0.log.20260102-150405"),
    ] {
        assert_eq!(plan(&["0.log", there], 5).rotated, wanted, "{there}");
    }
}

#[test]
fn rotated_logs_come_in_the_order_of_their_times() {
    let there = names(&[
        "0.log",
        "0.log.20260101-000003",
        "0.log.20260101-000001.gz",
        "0.log.20260101-000002.gz",
        "0.log.20260101-000002",
        "0.log.20260101-000004.tmp",
        "1.log.20260101-000001",
    ]);
    let found: Vec<&str> =
        rotated_logs("0.log", &there).into_iter().map(|(_, name)| name).collect();
    assert_eq!(
        found,
        ["0.log.20260101-000001.gz", "0.log.20260101-000002", "0.log.20260101-000003"]
    );
}

proptest! {
    /// Whatever is there and however the clock goes, there are at most so many files afterwards,
    /// the new one is the last of them, and all but it are compressed.
    #[test]
    fn carried_out_plans_keep_the_limits(
        max_files in 2..7_usize,
        clock in proptest::collection::vec(0..20_i64, 1..20),
    ) {
        let mut there = names(&["0.log"]);
        for second in clock {
            let plan = plan_rotation("0.log", &there, max_files, Timestamp::from_second(second).unwrap());
            prop_assert!(!there.contains(&plan.rotated));
            there.retain(|name| !plan.remove.contains(name));
            for name in &mut there {
                if plan.compress.contains(name) {
                    *name = compressed(name);
                }
            }
            there.push(plan.rotated.clone());
            prop_assert!(there.len() <= max_files);
            let logs = rotated_logs("0.log", &there);
            prop_assert_eq!(logs.last().map(|(_, name)| *name), Some(plan.rotated.as_str()));
            prop_assert_eq!(logs.iter().filter(|(_, name)| !is_compressed(name)).count(), 1);
        }
    }
}

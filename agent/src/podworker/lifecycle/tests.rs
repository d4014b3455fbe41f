use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn rank(stage: &Lifecycle) -> u8 {
    match stage {
        Lifecycle::Waiting => 0,
        Lifecycle::Syncing => 1,
        Lifecycle::Terminating { .. } => 2,
        Lifecycle::Terminated { .. } => 3,
        Lifecycle::Finished { .. } => 4,
    }
}

#[test]
fn later_shorter_grace_applies_from_the_moment_it_is_given() {
    let ending = Lifecycle::Syncing.terminate(EndCause::Deleted, seconds(60), at(100));
    let sooner = ending.terminate(EndCause::Deleted, seconds(5), at(110));
    assert_eq!(sooner.kill_deadline(), Some(at(115)));
}

#[test]
fn later_longer_grace_is_ignored() {
    let ending = Lifecycle::Syncing.terminate(EndCause::Deleted, seconds(5), at(100));
    assert_eq!(ending.clone().terminate(EndCause::Deleted, seconds(60), at(101)), ending);
}

#[test]
fn first_cause_is_kept() {
    let ending = Lifecycle::Syncing.terminate(EndCause::DeadlineExceeded, seconds(5), at(100));
    let again = ending.terminate(EndCause::Deleted, seconds(1), at(101));
    assert_eq!(again.end_cause(), Some(&EndCause::DeadlineExceeded));
}

proptest! {
    #[test]
    fn stages_never_go_back_and_the_deadline_never_moves_away(
        moves in prop::collection::vec((0u8..4, 0u64..100, 1i64..50), 1..12)
    ) {
        let mut stage = Lifecycle::Waiting;
        let mut now = 0;
        for (kind, grace, passed) in moves {
            now += passed;
            let next = match kind {
                0 => stage.clone().admitted(),
                1 => stage.clone().terminate(EndCause::Deleted, seconds(grace), at(now)),
                2 => stage.clone().stopped(),
                _ => stage.clone().cleared(),
            };
            prop_assert!(rank(&next) >= rank(&stage));
            if let (Some(old), Some(new)) = (stage.kill_deadline(), next.kill_deadline()) {
                prop_assert!(new <= old);
            }
            stage = next;
        }
    }
}

use super::*;
use crate::testing::build::at;

fn condition(ready: bool) -> RuntimeCondition {
    RuntimeCondition { ready, reason: "Why".into(), message: "because".into() }
}

fn status([runtime, network]: [bool; 2]) -> RuntimeStatus {
    RuntimeStatus {
        runtime: condition(runtime),
        network: condition(network),
        features: RuntimeFeatures {
            supplemental_groups_policy: Some(runtime),
            ..RuntimeFeatures::default()
        },
    }
}

#[test]
fn nothing_asked_is_not_ready() {
    assert_eq!(
        RuntimeReport::default().problems(None),
        ["container runtime status check may not have completed yet", "network state unknown"]
    );
    // Time alone does not change that.
    assert_eq!(RuntimeReport::default().aged(at(100)), RuntimeReport::default());
}

#[test]
fn answers_are_told_in_upstreams_words() {
    let report = RuntimeReport::default().answered(&status([true, true]), at(0));
    assert!(report.problems(None).is_empty());
    assert_eq!(report.problems(Some("late")), ["PLEG is not healthy: late"]);
    let report = report.answered(&status([true, false]), at(5));
    assert_eq!(
        report.problems(None),
        ["container runtime network not ready: NetworkReady=false reason:Why message:because"]
    );
    assert_eq!(report.blocking_problem(), None);
    let report = report.answered(&status([false, true]), at(10));
    assert_eq!(
        report.problems(None),
        ["container runtime not ready: RuntimeReady=false reason:Why message:because"]
    );
    assert!(report.blocking_problem().is_some());
}

#[test]
fn silence_of_thirty_seconds_is_down() {
    let report = RuntimeReport::default().answered(&status([true, true]), at(0));
    let report = report.aged(at(29));
    assert!(report.problems(None).is_empty());
    let report = report.aged(at(30));
    assert_eq!(
        report.problems(Some("late")),
        ["container runtime is down", "PLEG is not healthy: late"]
    );
    assert!(report.answered(&status([true, true]), at(31)).problems(None).is_empty());
}

#[test]
fn runtime_that_says_it_is_not_ready_is_down_in_time() {
    let report = RuntimeReport::default()
        .answered(&status([true, true]), at(0))
        .answered(&status([false, true]), at(30));
    assert_eq!(report.problems(None).len(), 2);
    // What it says in that state does not count.
    let policy = report.features.and_then(|features| features.supplemental_groups_policy);
    assert_eq!(policy, Some(true));
}

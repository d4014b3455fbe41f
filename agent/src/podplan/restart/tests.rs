use super::*;
use crate::model::ContainerState;
use crate::testing::build::{at, exited, pod, runtime};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn next_after(wait_seconds: u64, finished: i64) -> NextRun {
    let pod = pod("ns/web").container("app").build();
    let held = runtime(&pod)
        .sandbox(0)
        .exited("app", 1, 1, finished)
        .handing_on(seconds(wait_seconds))
        .build();
    let dead = &held.containers[0];
    let ContainerState::Exited(exit) = &dead.state else { panic!("it has exited") };
    next_run(&pod.spec().containers[0], dead, exit, seconds(300))
}

#[test]
fn waits_double_from_ten_seconds_up_to_the_cap() {
    let table = [(0, 10), (10, 20), (20, 40), (40, 80), (80, 160), (160, 300), (300, 300)];
    for (wait, after) in table {
        let run = next_after(wait, 50);
        assert_eq!(run.not_before, at(50 + i64::try_from(wait).unwrap()), "wait {wait}");
        assert_eq!(run.wait_after, seconds(after), "wait {wait}");
    }
}

#[test]
fn run_of_more_than_ten_minutes_starts_the_waits_anew() {
    assert_eq!(next_after(300, 601).wait, seconds(300));
    let run = next_after(300, 602);
    assert_eq!((run.wait, run.wait_after), (seconds(0), seconds(10)));
}

#[test]
fn new_image_starts_the_waits_anew() {
    let old = pod("ns/web").container("app").build();
    let held = runtime(&old).sandbox(0).exited("app", 3, 1, 50).handing_on(seconds(80)).build();
    let new = pod("ns/web").container_of("app", "fixed").build();
    let dead = &held.containers[0];
    let run = next_run(&new.spec().containers[0], dead, dead.exit().unwrap(), seconds(300));
    assert_eq!((run.not_before, run.wait_after), (at(50), seconds(10)));
}

#[test]
fn new_resources_start_the_waits_anew() {
    let old = pod("ns/web").container("app").build();
    let key = back_off_key(&old.spec().containers[0]);
    let mut held = runtime(&old).sandbox(0).exited("app", 3, 1, 50).handing_on(seconds(80)).build();
    held.containers[0].annotations.insert(RESTART_KEY_ANNOTATION.to_owned(), key);
    let dead = &held.containers[0];
    let wait = |spec| next_run(spec, dead, dead.exit().unwrap(), seconds(300)).wait;
    assert_eq!(wait(&old.spec().containers[0]), seconds(80));
    let resized = old.spec().containers[0].clone();
    let resources = api::ResourceRequirements {
        limits: Some([("cpu".to_owned(), Default::default())].into()),
        ..Default::default()
    };
    assert_eq!(wait(&api::Container { resources: Some(resources), ..resized }), seconds(0));
}

#[test]
fn only_failed_init_containers_run_again_and_sidecars_always() {
    let pod = pod("ns/web").init("i").sidecar("s").container("a").ephemeral("e", None).build();
    let table = [("i", 0, false), ("i", 1, true), ("s", 0, true), ("e", 1, false), ("a", 0, true)];
    for (name, code, expected) in table {
        let (kind, spec) = pod.container(name).unwrap();
        assert_eq!(runs_again(&pod, kind, spec, code), expected, "{name} {code}");
    }
}

#[test]
fn restart_policy_decides_by_exit_code() {
    let table = [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 0, false),
        ("Never", 1, false),
    ];
    for (policy, code, expected) in table {
        let pod = pod("ns/web").container("app").restart(policy).build();
        let spec = &pod.spec().containers[0];
        assert_eq!(restarts_after(&pod, spec, code), expected, "{policy} {code}");
    }
}

#[test]
fn container_rule_and_policy_come_before_the_policy_of_the_pod() {
    let pod = pod("ns/web").container("app").restart("Always").build();
    let mut spec = pod.spec().containers[0].clone();
    spec.restart_policy = Some("Never".to_owned());
    assert!(!restarts_after(&pod, &spec, 1));
    spec.restart_policy_rules = Some(vec![api::ContainerRestartRule {
        action: "Restart".to_owned(),
        exit_codes: Some(api::ContainerRestartRuleOnExitCodes {
            operator: "In".to_owned(),
            values: Some(vec![42]),
        }),
    }]);
    assert!(restarts_after(&pod, &spec, 42));
    assert!(!restarts_after(&pod, &spec, 1));
}

#[test]
fn waits_are_spelled_as_go_spells_durations() {
    for (wait, text) in [(10, "10s"), (80, "1m20s"), (300, "5m0s")] {
        assert_eq!(duration_text(seconds(wait)), text);
    }
}

#[test]
fn exited_builder_matches_the_model() {
    assert!(matches!(exited(0, 5), ContainerState::Exited(exit) if exit.reason == "Completed"));
}

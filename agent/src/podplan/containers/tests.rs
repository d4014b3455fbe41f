use super::*;
use crate::podplan::Observation;
use crate::prober::ProbeResult;
use crate::testing::build::{at, pod, published_running, runtime};
use crate::testing::observe::observe;

fn superseded_ids(held: &RuntimePod) -> Vec<String> {
    let mut ids: Vec<_> = superseded(held, Some(1)).iter().map(ToString::to_string).collect();
    ids.sort();
    ids
}

fn need_of(observation: &Observation) -> Need<'_> {
    let pod = observation.pod.as_ref().unwrap();
    need(Look::new(observation, pod), ContainerKind::Regular, &pod.spec().containers[0])
}

fn published(status: api::ContainerStatus) -> api::PodStatus {
    api::PodStatus { container_statuses: Some(vec![status]), ..api::PodStatus::default() }
}

#[test]
fn container_that_never_ran_starts_as_attempt_zero() {
    let pod = pod("ns/web").container("app").restart("Never").build();
    let seen = observe(&pod, runtime(&pod).sandbox(0).build()).build();
    assert_eq!(need_of(&seen), Need::Start(Start::default()));
}

#[test]
fn container_that_ended_well_after_a_failed_probe_runs_again_unless_its_policy_is_never() {
    let failed = Some(ProbeResult::Failure);
    for (policy, probed, expected) in [
        ("Always", failed, true),
        ("OnFailure", failed, true),
        ("OnFailure", Some(ProbeResult::Success), false),
        ("Never", failed, false),
    ] {
        let pod = pod("ns/web").container("app").restart(policy).build();
        let held = runtime(&pod).sandbox(0).exited("app", 0, 0, 50).build();
        let seen = observe(&pod, held).probed("app", "app-0", None, probed).build();
        let starts = matches!(need_of(&seen), Need::Start(Start { attempt: 1, .. }));
        assert_eq!(starts, expected, "{policy} {probed:?}");
    }
}

#[test]
fn attempt_goes_on_from_the_newest_instance() {
    let pod = pod("ns/web").container("app").build();
    let held = runtime(&pod).sandbox(0).exited("app", 6, 1, 50).build();
    let seen = observe(&pod, held).build();
    assert!(matches!(need_of(&seen), Need::Start(Start { attempt: 7, .. })));
}

#[test]
fn attempt_goes_on_from_the_published_count_when_the_runtime_lost_the_container() {
    let pod = pod("ns/web").container("app").build();
    let seen = observe(&pod, runtime(&pod).sandbox(0).build())
        .previous(published(published_running("app", 4)))
        .build();
    assert!(matches!(need_of(&seen), Need::Start(Start { attempt: 5, .. })));
}

#[test]
fn restart_of_a_lost_container_is_counted_once() {
    let pod = pod("ns/web").container("app").build();
    let mut lost = published_running("app", 5);
    lost.last_state = Some(api::ContainerState {
        terminated: Some(api::ContainerStateTerminated { exit_code: 137, ..Default::default() }),
        ..api::ContainerState::default()
    });
    lost.state = Some(api::ContainerState {
        waiting: Some(api::ContainerStateWaiting::default()),
        ..api::ContainerState::default()
    });
    let seen = observe(&pod, runtime(&pod).sandbox(0).build()).previous(published(lost)).build();
    assert!(matches!(need_of(&seen), Need::Start(Start { attempt: 5, .. })));
}

#[test]
fn attempt_never_falls_behind_the_published_count() {
    let pod = pod("ns/web").container("app").build();
    let held = runtime(&pod).sandbox(0).exited("app", 2, 1, 50).build();
    let seen = observe(&pod, held).previous(published(published_running("app", 4))).build();
    assert!(matches!(need_of(&seen), Need::Start(Start { attempt: 5, .. })));
}

#[test]
fn lost_container_of_a_pod_that_never_restarts_does_not_run_twice() {
    let pod = pod("ns/web").container("app").restart("Never").build();
    let seen = observe(&pod, runtime(&pod).sandbox(0).build())
        .previous(published(published_running("app", 0)))
        .build();
    assert_eq!(need_of(&seen), Need::Done);
}

#[test]
fn waiting_container_of_the_published_status_was_no_instance() {
    let pod = pod("ns/web").container("app").restart("Never").build();
    let waiting =
        api::ContainerStatus { name: "app".to_owned(), ..api::ContainerStatus::default() };
    let seen = observe(&pod, runtime(&pod).sandbox(0).build()).previous(published(waiting)).build();
    assert!(matches!(need_of(&seen), Need::Start(Start { attempt: 0, .. })));
}

#[test]
fn second_crash_waits_ten_seconds_from_the_end_of_the_run() {
    let pod = pod("ns/web").container("app").build();
    let ten = Duration::from_secs(10);
    let held = runtime(&pod).sandbox(0).exited("app", 1, 1, 95).handing_on(ten).build();
    let seen = observe(&pod, held.clone()).now(100).build();
    let Need::Later(held_back) = need_of(&seen) else { panic!("it waits") };
    assert_eq!(held_back.reason, reason::CRASH_LOOP_BACK_OFF);
    assert_eq!(held_back.until, Some(at(105)));
    assert_eq!(
        held_back.message,
        "back-off 10s restarting failed container=app pod=web_ns(uid-web)"
    );
    let seen = observe(&pod, held).now(105).build();
    let due =
        Need::Start(Start { attempt: 2, wait_after: Duration::from_secs(20), ..Start::default() });
    assert_eq!(need_of(&seen), due);
}

#[test]
fn failed_start_holds_the_container_until_its_time() {
    let pod = pod("ns/web").container("app").build();
    let held = HeldBack {
        name: "app".to_owned(),
        reason: reason::CREATE_CONTAINER_ERROR,
        message: "no".to_owned(),
        until: Some(at(110)),
    };
    let seen = observe(&pod, runtime(&pod).sandbox(0).build()).start_failed(held.clone());
    assert_eq!(need_of(&seen.clone().build()), Need::Later(held));
    assert!(matches!(need_of(&seen.now(110).build()), Need::Start(Start { .. })));
}

#[test]
fn created_instance_that_does_not_fit_is_followed_by_a_new_one() {
    let pod = pod("ns/web").container("app").build();
    let redefined = runtime(&pod).sandbox(0).container_with("app", 0, |container| {
        container.state = ContainerState::Created;
        container.spec_hash = Some("other".to_owned());
    });
    let orphaned = runtime(&pod).sandbox_with(0, |sandbox| sandbox.ips.clear()).container(
        "app",
        0,
        ContainerState::Created,
    );
    for held in [redefined.build(), orphaned.build()] {
        let seen = observe(&pod, held).build();
        assert!(matches!(need_of(&seen), Need::Start(Start { attempt: 1, created: None, .. })));
    }
}

#[test]
fn state_of_a_container_decides_what_it_needs() {
    let pod = pod("ns/web").container("app").build();
    let unknown = runtime(&pod).sandbox(0).container("app", 0, ContainerState::Unknown).build();
    let created = runtime(&pod).sandbox(0).container("app", 0, ContainerState::Created).build();
    let running = runtime(&pod).sandbox(0).running("app", 0).build();
    assert!(matches!(need_of(&observe(&pod, unknown).build()), Need::StopFirst));
    let seen = observe(&pod, created).build();
    assert!(matches!(need_of(&seen), Need::Start(Start { attempt: 0, created: Some(_), .. })));
    assert!(matches!(need_of(&observe(&pod, running).build()), Need::Keep(_)));
}

#[test]
fn new_image_replaces_a_running_container_even_if_it_never_restarts() {
    let old = pod("ns/web").container("app").restart("Never").build();
    let held = runtime(&old).sandbox(0).running("app", 0).build();
    let new = pod("ns/web").container_of("app", "other").restart("Never").build();
    assert!(matches!(need_of(&observe(&new, held).build()), Need::StopFirst));
}

#[test]
fn newest_exited_instance_is_kept_beside_the_newest() {
    let pod = pod("ns/web").container("app").build();
    let held = runtime(&pod)
        .sandbox(0)
        .exited("app", 0, 1, 10)
        .exited("app", 1, 1, 20)
        .container("app", 2, ContainerState::Created)
        .running("app", 3)
        .build();
    assert_eq!(superseded_ids(&held), ["app-0", "app-2"]);
}

#[test]
fn instance_that_may_run_is_never_pruned() {
    let pod = pod("ns/web").container("app").build();
    let held = runtime(&pod)
        .sandbox(0)
        .container("app", 0, ContainerState::Unknown)
        .running("app", 1)
        .running("app", 2)
        .build();
    assert!(superseded(&held, Some(1)).is_empty());
}

//! Stories of pods on their way to their regular containers.

use super::*;
use crate::model::{Pod, RuntimePod, SandboxState};
use crate::podplan::{Observation, SandboxStep, Slow, StopCause, Verdict, plan_pod};
use crate::podworker::EndCause;
use crate::prober::{ProbeKind, ProbeResult};
use crate::testing::build::{RuntimeBuilder, at, pod, published_running, runtime};
use crate::testing::observe::observe;

fn starts(seen: &Observation) -> Vec<String> {
    plan_pod(seen).start.into_iter().map(|start| start.name).collect()
}

fn starts_of(pod: &Pod, held: RuntimePod) -> Vec<String> {
    starts(&observe(pod, held).build())
}

fn published_exit(name: &str, code: i32, second: i64) -> api::ContainerStatus {
    let terminated = api::ContainerStateTerminated {
        exit_code: code,
        finished_at: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second))),
        container_id: Some(format!("containerd://{name}-0")),
        ..Default::default()
    };
    api::ContainerStatus {
        name: name.to_owned(),
        state: Some(api::ContainerState { terminated: Some(terminated), ..Default::default() }),
        ..Default::default()
    }
}

fn published_init(statuses: Vec<api::ContainerStatus>) -> api::PodStatus {
    api::PodStatus { init_container_statuses: Some(statuses), ..api::PodStatus::default() }
}

#[test]
fn init_containers_run_one_after_the_other_and_the_regular_ones_last() {
    let pod = pod("ns/web").init("i1").init("i2").container("a").container("b").build();
    assert_eq!(starts_of(&pod, runtime(&pod).build()), ["i1"]);
    let one = || runtime(&pod).sandbox(0);
    assert_eq!(starts_of(&pod, one().build()), ["i1"]);
    assert_eq!(starts_of(&pod, one().running("i1", 0).build()), [""; 0]);
    let first = || one().exited("i1", 0, 0, 50);
    assert_eq!(starts_of(&pod, first().build()), ["i2"]);
    assert_eq!(starts_of(&pod, first().running("i2", 0).build()), [""; 0]);
    assert_eq!(starts_of(&pod, first().exited("i2", 0, 0, 60).build()), ["a", "b"]);
}

#[test]
fn failed_init_container_is_retried_or_ends_the_pod() {
    let table = [("Always", true), ("OnFailure", true), ("Never", false)];
    for (policy, again) in table {
        let pod = pod("ns/web").init("i").container("a").restart(policy).build();
        let held = runtime(&pod).sandbox(0).exited("i", 0, 1, 50).build();
        let seen = observe(&pod, held).build();
        let plan = plan_pod(&seen);
        assert_eq!(starts(&seen), if again { vec!["i"] } else { vec![] }, "{policy}");
        let end = Verdict::End(EndCause::Completed);
        assert_eq!(plan.verdict == end, !again, "{policy}");
    }
}

#[test]
fn policy_of_the_init_container_itself_comes_first() {
    for (pods, own, again) in [("Never", "OnFailure", true), ("Always", "Never", false)] {
        let own = Some(own.to_owned());
        let pod = pod("ns/web")
            .init_with("i", |spec| spec.restart_policy = own)
            .container("a")
            .restart(pods)
            .build();
        let held = runtime(&pod).sandbox(0).exited("i", 0, 1, 50).build();
        assert_eq!(starts_of(&pod, held) == ["i"], again, "{pods}");
    }
}

#[test]
fn finished_init_container_whose_remains_were_removed_does_not_run_again() {
    let pod = pod("ns/web").init("i").container("a").build();
    let bare = || runtime(&pod).sandbox(0);
    let shown =
        || observe(&pod, bare().build()).previous(published_init(vec![published_exit("i", 0, 50)]));
    assert_eq!(starts(&shown().build()), ["a"], "by what was published");
    let held = bare().running("a", 0).build();
    assert_eq!(starts_of(&pod, held), [""; 0], "by the presence of a regular container");
    let held = bare().exited("a", 0, 1, 50).build();
    assert_eq!(starts_of(&pod, held), ["a"], "by the remains of a regular container");
    let later = pod_with_two();
    let held = runtime(&later).sandbox(0).exited("i2", 0, 0, 50).build();
    assert_eq!(starts_of(&later, held), ["a"], "by the remains of a later init container");
}

fn pod_with_two() -> Pod {
    pod("ns/web").init("i1").init("i2").container("a").build()
}

#[test]
fn new_sandbox_begins_with_the_first_init_container() {
    let pod = pod_with_two();
    let dead = |held: RuntimeBuilder| {
        held.sandbox_with(0, |sandbox| sandbox.state = SandboxState::NotReady)
            .exited("i1", 0, 0, 50)
            .exited("i2", 0, 0, 60)
            .exited("a", 0, 137, 70)
    };
    let plan = plan_pod(&observe(&pod, dead(runtime(&pod)).build()).build());
    assert_eq!(plan.sandbox, SandboxStep::Create { attempt: 1, stop_first: vec![] });
    assert_eq!((plan.start.len(), plan.start[0].name.as_str()), (1, "i1"));
    assert_eq!(plan.start[0].attempt, 1);
    // Nothing of the old sandbox counts in the new one.
    let made = || dead(runtime(&pod)).sandbox_with(1, |sandbox| sandbox.created_at = at(80));
    assert_eq!(starts_of(&pod, made().build()), ["i1"]);
    assert_eq!(starts_of(&pod, made().exited("i1", 1, 0, 90).build()), ["i2"]);
    let held = made().exited("i1", 1, 0, 90).exited("i2", 1, 0, 95).build();
    assert_eq!(starts_of(&pod, held), ["a"]);
    let bare = runtime(&pod).sandbox_with(1, |sandbox| sandbox.created_at = at(80)).build();
    let seen = observe(&pod, bare).previous(published_init(vec![published_exit("i1", 0, 50)]));
    assert_eq!(starts(&seen.build()), ["i1"], "nor does what was published of it");
}

#[test]
fn failed_init_container_that_never_restarts_is_not_tried_in_a_new_sandbox() {
    let pod = pod("ns/web").init("i").container("a").restart("Never").build();
    let not_ready = |sandbox: &mut crate::model::Sandbox| sandbox.state = SandboxState::NotReady;
    let held = runtime(&pod).sandbox_with(0, not_ready).exited("i", 0, 137, 50).build();
    let end = Verdict::End(EndCause::Completed);
    assert_eq!(plan_pod(&observe(&pod, held).build()).verdict, end);
    let lost = observe(&pod, runtime(&pod).build())
        .previous(published_init(vec![published_exit("i", 1, 50)]))
        .build();
    assert_eq!(plan_pod(&lost).verdict, end);
}

#[test]
fn created_init_container_is_started() {
    let pod = pod("ns/web").init("i").container("a").build();
    let held = runtime(&pod).sandbox(0).container("i", 0, crate::model::ContainerState::Created);
    let plan = plan_pod(&observe(&pod, held.build()).build());
    assert_eq!(plan.start.len(), 1);
    assert!(plan.start[0].created.is_some());
}

#[test]
fn sidecar_lets_the_next_start_beside_it() {
    let pod = pod("ns/web").sidecar("s").init("i").container("a").build();
    assert_eq!(starts_of(&pod, runtime(&pod).build()), ["s", "i"]);
    let held = runtime(&pod).sandbox(0).running("s", 0).build();
    assert_eq!(starts_of(&pod, held), ["i"]);
    let held = runtime(&pod).sandbox(0).running("s", 0).exited("i", 0, 0, 50).build();
    assert_eq!(starts_of(&pod, held), ["a"]);
}

#[test]
fn sidecar_with_a_startup_probe_or_hook_holds_back_the_next_until_it_has_started() {
    let probed = |spec: &mut api::Container| {
        spec.restart_policy = Some("Always".to_owned());
        spec.startup_probe = Some(api::Probe::default());
    };
    let with_probe = pod("ns/web").init_with("s", probed).container("a").build();
    assert_eq!(starts_of(&with_probe, runtime(&with_probe).build()), ["s"]);
    let held = runtime(&with_probe).sandbox(0).running("s", 0).build();
    let seen = |result| observe(&with_probe, held.clone()).probed("s", "s-0", Some(result), None);
    assert_eq!(starts(&seen(ProbeResult::Unknown).build()), [""; 0]);
    assert_eq!(starts(&seen(ProbeResult::Success).build()), ["a"]);
    let plan = plan_pod(&seen(ProbeResult::Failure).build());
    assert_eq!(plan.stop[0].cause, StopCause::ProbeFailed(ProbeKind::Startup));

    let with_hook = pod("ns/web").sidecar("s").post_start("s").container("a").build();
    assert_eq!(starts_of(&with_hook, runtime(&with_hook).build()), ["s"]);
    let seen = observe(&with_hook, runtime(&with_hook).sandbox(0).running("s", 0).build());
    assert_eq!(starts(&seen.clone().in_post_start("s").build()), [""; 0]);
    assert_eq!(starts(&seen.build()), ["a"]);
}

#[test]
fn ended_sidecar_restarts_whatever_the_policy_and_holds_back_nothing_it_was_passed_by() {
    for code in [0, 1] {
        let pod = pod("ns/web").sidecar("s").init("i").container("a").restart("Never").build();
        let held = || runtime(&pod).sandbox(0).exited("s", 0, code, 50);
        assert_eq!(starts_of(&pod, held().running("i", 0).build()), ["s"]);
        assert_eq!(starts_of(&pod, held().exited("i", 0, 0, 60).build()), ["s", "a"]);
        assert_eq!(starts_of(&pod, held().running("a", 0).build()), ["s"]);
    }
}

#[test]
fn sidecar_has_a_crash_loop_of_its_own() {
    let pod = pod("ns/web").sidecar("s").container("a").build();
    let wait = std::time::Duration::from_secs(20);
    let held = runtime(&pod).sandbox(0).running("a", 0).exited("s", 3, 0, 95).handing_on(wait);
    let plan = plan_pod(&observe(&pod, held.build()).now(100).build());
    assert!(plan.is_idle());
    assert_eq!(plan.waiting[0].reason, crate::reason::CRASH_LOOP_BACK_OFF);
    assert_eq!(plan.next_turn, Some(at(115)));
}

#[test]
fn pod_ends_when_its_regular_containers_are_done_whatever_its_sidecars_do() {
    let pod = pod("ns/job")
        .sidecar("s")
        .container("a")
        .ephemeral("debug", None)
        .restart("OnFailure")
        .build();
    let end = Verdict::End(EndCause::Completed);
    let held = || runtime(&pod).sandbox(0).exited("a", 0, 0, 50);
    for held in [held().running("s", 0).running("debug", 0), held().exited("s", 0, 1, 40)] {
        let plan = plan_pod(&observe(&pod, held.build()).build());
        assert_eq!((plan.verdict.clone(), plan.is_idle()), (end.clone(), true));
    }
}

#[test]
fn lost_sidecar_restarts_and_its_count_goes_on() {
    let pod = pod("ns/web").sidecar("s").container("a").build();
    let seen = observe(&pod, runtime(&pod).sandbox(0).running("a", 0).build())
        .previous(published_init(vec![published_running("s", 4)]))
        .build();
    let plan = plan_pod(&seen);
    assert_eq!((plan.start[0].name.as_str(), plan.start[0].attempt), ("s", 5));
}

#[test]
fn new_image_replaces_an_init_container_only_while_it_runs() {
    let old = pod("ns/web").init("i").container("a").restart("Never").build();
    let change = |spec: &mut api::Container| spec.image = Some("other".to_owned());
    let new = pod("ns/web").init("i").container("a").restart("Never").changed("i", change).build();
    let running = runtime(&old).sandbox(0).running("i", 0).build();
    let plan = plan_pod(&observe(&new, running).build());
    assert_eq!(plan.stop[0].cause, StopCause::DefinitionChanged);
    let stopped = runtime(&old).sandbox(0).exited("i", 0, 143, 50).build();
    assert_eq!(starts(&observe(&new, stopped).replaced("i-0").build()), ["i"]);
    let done = runtime(&old).sandbox(0).exited("i", 0, 0, 50).running("a", 0).build();
    assert!(plan_pod(&observe(&new, done).build()).is_idle());
}

#[test]
fn nothing_is_decided_over_a_failed_init_container_while_a_bring_up_is_in_flight() {
    let pod = pod("ns/web").init("i").container("a").restart("Never").build();
    let held = runtime(&pod).sandbox(0).exited("i", 0, 1, 50).build();
    let plan = plan_pod(&observe(&pod, held).in_flight(Slow::BringUp).build());
    assert_eq!((plan.verdict.clone(), plan.is_idle()), (Verdict::Continue, true));
}

#[test]
fn hook_after_start_holds_back_the_regular_containers_behind_it() {
    let pod = pod("ns/web").container("a").post_start("a").container("b").build();
    assert_eq!(starts_of(&pod, runtime(&pod).build()), ["a"]);
    let seen = observe(&pod, runtime(&pod).sandbox(0).running("a", 0).build());
    assert_eq!(starts(&seen.clone().in_post_start("a").build()), [""; 0]);
    assert_eq!(starts(&seen.build()), ["b"]);
}

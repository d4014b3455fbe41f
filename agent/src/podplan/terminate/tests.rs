use super::*;
use crate::model::{ContainerId, SandboxId};
use crate::podplan::plan_pod;
use crate::testing::build::{at, pod, runtime};
use crate::testing::observe::observe;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn all_containers_stop_side_by_side_with_what_is_left_of_the_grace() {
    let pod = pod("ns/web").container("a").container("b").build();
    let held = runtime(&pod).sandbox(0).running("a", 0).running("b", 0).build();
    let plan =
        plan_pod(&observe(&pod, held).terminating(EndCause::Deleted, 90, 30).now(100).build());
    assert_eq!(plan.stop.len(), 2);
    assert!(plan.stop.iter().all(|stop| stop.grace == seconds(20)));
    assert_eq!(plan.sandbox, SandboxStep::Keep);
}

#[test]
fn grace_of_a_stop_is_at_least_two_seconds() {
    let pod = pod("ns/web").container("a").build();
    let held = runtime(&pod).sandbox(0).running("a", 0).build();
    for grace in [0, 1] {
        let seen = observe(&pod, held.clone()).terminating(EndCause::Deleted, 100, grace);
        assert_eq!(plan_pod(&seen.build()).stop[0].grace, MIN_STOP_GRACE);
    }
}

#[test]
fn running_stop_is_overtaken_only_by_a_shorter_one() {
    let pod = pod("ns/web").container("a").build();
    let held = runtime(&pod).sandbox(0).running("a", 0).build();
    let seen = observe(&pod, held).stopping("a-0", 130);
    let same = seen.clone().terminating(EndCause::Deleted, 100, 30).now(110).build();
    assert!(plan_pod(&same).is_idle());
    let shorter = seen.clone().terminating(EndCause::Deleted, 100, 15).now(110).build();
    assert_eq!(plan_pod(&shorter).stop[0].grace, seconds(5));
    let over = seen.stopping("a-0", 102).terminating(EndCause::Deleted, 100, 0).now(101).build();
    assert!(plan_pod(&over).is_idle());
}

#[test]
fn sandbox_stops_after_the_last_container() {
    let pod = pod("ns/web").container("a").build();
    let held = runtime(&pod).sandbox(0).exited("a", 0, 0, 50).build();
    let plan = plan_pod(&observe(&pod, held).terminating(EndCause::Deleted, 90, 30).build());
    let sandboxes = vec![SandboxId::from("sandbox-0")];
    assert_eq!(plan.sandbox, SandboxStep::Stop { sandboxes });
    assert_eq!(plan.verdict, Verdict::Continue);
}

#[test]
fn nothing_is_stopped_for_good_while_a_bring_up_is_in_flight() {
    let pod = pod("ns/web").container("a").build();
    let seen = observe(&pod, runtime(&pod).build()).terminating(EndCause::Deleted, 90, 30);
    assert_eq!(plan_pod(&seen.clone().build()).verdict, Verdict::Stopped);
    let busy = seen.in_flight(Slow::BringUp).build();
    assert_eq!(plan_pod(&busy).verdict, Verdict::Continue);
}

#[test]
fn orphan_without_a_spec_is_stopped() {
    let pod = pod("ns/web").container("a").build();
    let held = runtime(&pod).sandbox(0).running("a", 0).build();
    let seen = observe(&pod, held).without_spec().terminating(EndCause::Orphaned, 100, 1).build();
    let stop = StopContainer {
        id: ContainerId::from("a-0"),
        name: "a".to_owned(),
        cause: StopCause::Orphaned,
        grace: MIN_STOP_GRACE,
    };
    assert_eq!(plan_pod(&seen).stop, [stop]);
}

#[test]
fn container_of_unknown_state_is_stopped_and_not_taken_for_dead() {
    let pod = pod("ns/web").container("a").build();
    let unknown = crate::model::ContainerState::Unknown;
    let held = runtime(&pod).sandbox(0).container("a", 0, unknown).build();
    let seen = observe(&pod, held).terminating(EndCause::Deleted, 90, 30);
    assert_eq!(plan_pod(&seen.clone().build()).stop.len(), 1);
    let rests = seen.rests(Step::Stop(ContainerId::from("a-0")), at(140)).build();
    let plan = plan_pod(&rests);
    assert!(plan.is_idle());
    assert_eq!((plan.verdict, plan.next_turn), (Verdict::Continue, Some(at(140))));
}

fn ended(plan: &PodPlan) -> Vec<&str> {
    plan.stop.iter().map(|stop| stop.name.as_str()).collect()
}

fn hooked(plan: &PodPlan) -> Vec<&str> {
    plan.pre_stop.iter().map(|hook| hook.name.as_str()).collect()
}

#[test]
fn container_is_stopped_when_its_own_hook_has_ended_with_what_is_left() {
    let pod = pod("ns/web").container("a").pre_stop("a").container("b").build();
    let held = runtime(&pod).sandbox(0).running("a", 0).running("b", 0).build();
    let seen = observe(&pod, held).terminating(EndCause::Deleted, 100, 30);
    let plan = plan_pod(&seen.clone().build());
    assert_eq!((hooked(&plan), ended(&plan)), (vec!["a"], vec!["b"]));
    assert_eq!(plan.pre_stop[0].kill_at, at(130));
    let plan =
        plan_pod(&seen.clone().stopping("b-0", 130).in_pre_stop("a-0", 130).now(110).build());
    assert_eq!((plan.is_idle(), plan.next_turn), (true, Some(at(130))));
    let plan = plan_pod(&seen.stopping("b-0", 130).pre_stopped("a-0", 130).now(112).build());
    assert_eq!((ended(&plan), plan.stop[0].grace), (vec!["a"], seconds(18)));
}

#[test]
fn hook_that_does_not_end_is_cut_off_at_the_end_of_the_grace() {
    let pod = pod("ns/web").container("a").pre_stop("a").build();
    let held = runtime(&pod).sandbox(0).running("a", 0).build();
    let seen = observe(&pod, held).in_pre_stop("a-0", 130);
    let over = seen.clone().terminating(EndCause::Deleted, 100, 30).now(130).build();
    assert_eq!(plan_pod(&over).stop[0].grace, MIN_STOP_GRACE);
    // A deletion that is in more of a hurry cuts it off sooner.
    let hurried = seen.clone().terminating(EndCause::Deleted, 100, 15).now(110).build();
    assert_eq!(plan_pod(&hurried).next_turn, Some(at(115)));
    let hurried = seen.terminating(EndCause::Deleted, 100, 15).now(115).build();
    assert_eq!(plan_pod(&hurried).stop[0].grace, MIN_STOP_GRACE);
}

#[test]
fn pod_without_grace_runs_no_hook() {
    let pod = pod("ns/web").container("a").pre_stop("a").build();
    let held = runtime(&pod).sandbox(0).running("a", 0).build();
    let plan = plan_pod(&observe(&pod, held).terminating(EndCause::Deleted, 100, 0).build());
    assert_eq!((hooked(&plan), ended(&plan)), (vec![], vec!["a"]));
}

/// running | stopped next
#[test]
fn sidecars_stop_after_the_regular_containers_the_last_one_first() {
    let pod = pod("ns/web")
        .sidecar("s1")
        .sidecar("s2")
        .init("i")
        .container("a")
        .container("b")
        .ephemeral("e", None)
        .build();
    let table: [(&[&str], &[&str]); 6] = [
        (&["s1", "s2", "a", "b", "e"], &["e", "b", "a"]),
        (&["s1", "s2", "b"], &["b"]),
        (&["s1", "s2", "e"], &["e", "s2"]),
        (&["s1", "s2", "i"], &["i"]),
        (&["s1", "s2"], &["s2"]),
        (&["s1"], &["s1"]),
    ];
    for (running, stopped) in table {
        let held = || {
            running
                .iter()
                .fold(runtime(&pod).sandbox(0), |held, name| held.running(name, 0))
                .build()
        };
        let seen = observe(&pod, held()).terminating(EndCause::Deleted, 100, 30);
        let plan = plan_pod(&seen.clone().build());
        assert_eq!(ended(&plan), stopped, "{running:?}");
        // Once the grace is over nobody waits for anybody.
        let plan = plan_pod(&seen.now(130).build());
        assert_eq!(plan.stop.len(), running.len(), "{running:?}");
        assert!(plan.stop.iter().all(|stop| stop.grace == MIN_STOP_GRACE));
    }
}

#[test]
fn hooks_of_sidecars_begin_with_those_of_the_regular_containers() {
    let pod = pod("ns/web").sidecar("s").pre_stop("s").container("a").pre_stop("a").build();
    let held = runtime(&pod).sandbox(0).running("s", 0).running("a", 0).build();
    let seen = observe(&pod, held).terminating(EndCause::Deleted, 100, 30);
    let plan = plan_pod(&seen.clone().build());
    assert_eq!((hooked(&plan), ended(&plan)), (vec!["a", "s"], vec![]));
    let plan = plan_pod(&seen.in_pre_stop("a-0", 130).pre_stopped("s-0", 130).now(110).build());
    assert_eq!((plan.is_idle(), plan.next_turn), (true, Some(at(130))));
}

#[test]
fn kill_in_a_living_pod_runs_the_hook_first_and_keeps_its_date() {
    let old = pod("ns/web").container("a").pre_stop("a").grace(20).build();
    let held = runtime(&old).sandbox(0).running("a", 0).build();
    let new = pod("ns/web").container_of("a", "other").pre_stop("a").grace(20).build();
    let seen = observe(&new, held);
    let plan = plan_pod(&seen.clone().now(100).build());
    assert_eq!((hooked(&plan), ended(&plan)), (vec!["a"], vec![]));
    let (cause, kill_at) = (plan.pre_stop[0].cause, plan.pre_stop[0].kill_at);
    assert_eq!((cause, kill_at), (StopCause::DefinitionChanged, at(120)));
    assert!(plan_pod(&seen.clone().in_pre_stop("a-0", 120).now(110).build()).is_idle());
    let plan = plan_pod(&seen.clone().pre_stopped("a-0", 120).now(110).build());
    assert_eq!(plan.stop[0].grace, seconds(10));
    let plan = plan_pod(&seen.in_pre_stop("a-0", 120).now(120).build());
    assert_eq!(plan.stop[0].grace, MIN_STOP_GRACE);
}

#[test]
fn failed_probe_kills_with_its_own_grace() {
    use crate::prober::{ProbeKind, ProbeResult};
    for (own, expected) in [(Some(5), 5), (None, 30)] {
        let probe = k8s_openapi::api::core::v1::Probe {
            termination_grace_period_seconds: own,
            ..Default::default()
        };
        let change = |spec: &mut k8s_openapi::api::core::v1::Container| {
            spec.liveness_probe = Some(probe.clone());
        };
        let pod = pod("ns/web").container("a").changed("a", change).build();
        let held = runtime(&pod).sandbox(0).running("a", 0).build();
        let seen = observe(&pod, held).probed("a", "a-0", None, Some(ProbeResult::Failure));
        let plan = plan_pod(&seen.clone().build());
        let (cause, grace) = (plan.stop[0].cause, plan.stop[0].grace);
        assert_eq!(
            (cause, grace),
            (StopCause::ProbeFailed(ProbeKind::Liveness), seconds(expected))
        );
        assert!(plan_pod(&seen.in_post_start("a").build()).is_idle(), "its hook comes first");
    }
}

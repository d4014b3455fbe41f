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

//! Stories of a whole plan, and the properties every plan has.

mod properties;
mod world;

use proptest::prelude::*;

use super::*;
use crate::model::{
    Container, ContainerState, Pod, RuntimePod, Sandbox, SandboxId, SandboxState, container_hash,
};
use crate::podworker::{EndCause, Lifecycle};
use crate::testing::build::{at, exited, pod, runtime};
use crate::testing::observe::observe;

fn names(plan: &PodPlan) -> Vec<&str> {
    plan.start.iter().map(|start| start.name.as_str()).collect()
}

#[test]
fn new_pod_gets_a_sandbox_and_its_containers_in_spec_order() {
    let pod = pod("ns/web").container("b").container("a").build();
    let plan = plan_pod(&observe(&pod, runtime(&pod).build()).build());
    assert_eq!(plan.sandbox, SandboxStep::Create { attempt: 0, stop_first: vec![] });
    assert_eq!(names(&plan), ["b", "a"]);
}

#[test]
fn pod_waits_one_second_for_the_network() {
    let bound = pod("ns/web").container("a").build();
    let seen = observe(&bound, runtime(&bound).build()).network_down("cni is not ready");
    let plan = plan_pod(&seen.now(100).build());
    assert!(plan.is_idle());
    assert_eq!(plan.network_not_ready.as_deref(), Some("cni is not ready"));
    assert_eq!(plan.next_turn, Some(at(101)));
}

#[test]
fn host_network_pod_does_not_wait_for_the_network() {
    let pod = pod("ns/web").container("a").host_network().build();
    let seen = observe(&pod, runtime(&pod).build()).network_down("cni is not ready").build();
    assert!(matches!(plan_pod(&seen).sandbox, SandboxStep::Create { .. }));
}

#[test]
fn dead_sandbox_ends_its_containers_first_and_is_replaced_then() {
    let pod = pod("ns/web").container("a").build();
    let dead = |s: &mut Sandbox| s.state = SandboxState::NotReady;
    let held = runtime(&pod).sandbox_with(0, dead).running("a", 0).build();
    let plan = plan_pod(&observe(&pod, held).build());
    assert_eq!(plan.stop[0].cause, StopCause::SandboxChanged);
    assert_eq!(plan.sandbox, SandboxStep::Keep);
    let held = runtime(&pod).sandbox_with(0, dead).exited("a", 0, 137, 99).build();
    let plan = plan_pod(&observe(&pod, held).build());
    assert_eq!(plan.sandbox, SandboxStep::Create { attempt: 1, stop_first: vec![] });
    assert_eq!(names(&plan), ["a"]);
}

#[test]
fn dead_sandbox_of_a_finished_job_is_not_replaced() {
    for policy in ["Never", "OnFailure"] {
        let pod = pod("ns/job").container("a").restart(policy).build();
        let dead = |s: &mut Sandbox| s.state = SandboxState::NotReady;
        let held = runtime(&pod).sandbox_with(0, dead).exited("a", 0, 0, 50).build();
        let plan = plan_pod(&observe(&pod, held).build());
        assert!(plan.is_idle(), "{policy}");
        assert_eq!(plan.verdict, Verdict::End(EndCause::Completed), "{policy}");
    }
}

#[test]
fn pod_whose_deadline_is_over_ends() {
    let pod = pod("ns/job").container("a").active_deadline(60).build();
    let start = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(10));
    let status =
        k8s_openapi::api::core::v1::PodStatus { start_time: Some(start), ..Default::default() };
    let held = runtime(&pod).sandbox(0).running("a", 0).build();
    let seen = observe(&pod, held).previous(status);
    assert_eq!(plan_pod(&seen.clone().now(69).build()).next_turn, Some(at(70)));
    let plan = plan_pod(&seen.now(70).build());
    assert_eq!(plan.verdict, Verdict::End(EndCause::DeadlineExceeded));
}

#[test]
fn failure_stays_published_while_the_container_is_tried_again() {
    let pod = pod("ns/web").container("a").build();
    let held = HeldBack {
        name: "a".to_owned(),
        reason: crate::reason::ERR_IMAGE_PULL,
        message: "no such image".to_owned(),
        until: Some(at(90)),
    };
    let seen = observe(&pod, runtime(&pod).sandbox(0).build()).start_failed(held.clone()).now(100);
    let plan = plan_pod(&seen.clone().build());
    assert_eq!((names(&plan), plan.waiting.clone()), (vec!["a"], vec![held.clone()]));
    let plan = plan_pod(&seen.in_flight(Slow::BringUp).build());
    assert_eq!((names(&plan), &plan.waiting), (vec![], &vec![held]));
}

#[test]
fn definition_change_stops_the_old_instance_while_others_are_being_started() {
    let old = pod("ns/web").container("a").build();
    let held = runtime(&old).sandbox(0).running("a", 0).build();
    let new = pod("ns/web").container_of("a", "other").container("b").build();
    let plan = plan_pod(&observe(&new, held).in_flight(Slow::BringUp).build());
    assert_eq!(plan.stop[0].cause, StopCause::DefinitionChanged);
    assert!(plan.start.is_empty());
}

#[test]
fn container_killed_for_its_new_image_runs_again_even_if_it_never_restarts() {
    let old = pod("ns/web").container("a").restart("Never").build();
    let held = runtime(&old).sandbox(0).exited("a", 0, 143, 90).build();
    let new = pod("ns/web").container_of("a", "other").restart("Never").build();
    let seen = observe(&new, held);
    assert_eq!(names(&plan_pod(&seen.clone().replaced("a-0").build())), ["a"]);
    // One that had ended by itself stays as it is.
    let plan = plan_pod(&seen.build());
    assert_eq!(plan.verdict, Verdict::End(EndCause::Completed));
}

/// Carries the plan out on `held` as a runtime in good order would.
fn apply(plan: &PodPlan, pod: &Pod, held: &mut RuntimePod, now: i64) {
    for stop in &plan.stop {
        let container = held.containers.iter_mut().find(|c| c.id == stop.id).unwrap();
        container.state = exited(137, now);
    }
    let mut stopped: Vec<SandboxId> = Vec::new();
    match &plan.sandbox {
        SandboxStep::Keep => {}
        SandboxStep::Stop { sandboxes } => stopped.clone_from(sandboxes),
        SandboxStep::Create { attempt, stop_first } => {
            stopped.clone_from(stop_first);
            let made = runtime(pod).sandbox(*attempt).build().sandboxes;
            held.sandboxes.splice(0..0, made);
        }
    }
    for sandbox in held.sandboxes.iter_mut().filter(|s| stopped.contains(&s.id)) {
        sandbox.state = SandboxState::NotReady;
    }
    for start in &plan.start {
        if let Some(id) = &start.created {
            let created = held.containers.iter_mut().find(|c| c.id == *id).unwrap();
            created.state = ContainerState::Running { started_at: at(now) };
            continue;
        }
        let sandbox = held.sandboxes[0].id.clone();
        let made = runtime(pod).running(&start.name, start.attempt).handing_on(start.wait_after);
        let mut container = made.build().containers.remove(0);
        container.sandbox = sandbox;
        held.containers.insert(0, container);
    }
    held.containers.retain(|c| !plan.remove.contains(&c.id));
    held.sandboxes.retain(|s| !plan.remove_sandboxes.contains(&s.id));
}

fn any_state() -> impl Strategy<Value = ContainerState> {
    prop_oneof![
        Just(ContainerState::Created),
        Just(ContainerState::Unknown),
        Just(ContainerState::Running { started_at: at(1) }),
        Just(exited(0, 50)),
        Just(exited(3, 60)),
    ]
}

fn any_runtime() -> impl Strategy<Value = (Pod, RuntimePod)> {
    let policy = prop::sample::select(vec!["Always", "OnFailure", "Never"]);
    let sandboxes = prop::collection::vec((any::<bool>(), any::<bool>()), 0..3);
    let instances = prop::collection::vec((0usize..3, any_state(), any::<bool>()), 0..7);
    (policy, sandboxes, instances, any::<bool>()).prop_map(
        |(policy, sandboxes, instances, host)| {
            let builder = pod("ns/web").container("a").container("b").restart(policy);
            let pod = if host { builder.host_network() } else { builder }.build();
            let mut held = runtime(&pod);
            for (attempt, (ready, address)) in sandboxes.iter().enumerate() {
                held = held.sandbox_with(u32::try_from(attempt).unwrap(), |sandbox| {
                    sandbox.host_network = host;
                    if !*ready {
                        sandbox.state = SandboxState::NotReady;
                    }
                    if !*address {
                        sandbox.ips.clear();
                    }
                });
            }
            for (attempt, (which, state, redefined)) in instances.into_iter().enumerate() {
                let attempt = u32::try_from(attempt).unwrap();
                held = held.container_with(["a", "b", "gone"][which], attempt, |container| {
                    container.state = state;
                    if redefined {
                        container.spec_hash = Some("other".to_owned());
                    }
                });
            }
            (pod, held.build())
        },
    )
}

fn may_run(container: &Container) -> bool {
    look::may_run(container)
}

fn check_start_is_alone(plan: &PodPlan, held: &RuntimePod) -> Result<(), TestCaseError> {
    for start in &plan.start {
        let namesake = held.instances(&start.name).find(|c| may_run(c));
        prop_assert!(namesake.is_none(), "{start:?} beside {namesake:?}");
        if let Some(id) = &start.created {
            let newest = held.newest(&start.name).unwrap();
            prop_assert_eq!((&newest.id, newest.attempt), (id, start.attempt));
            prop_assert_eq!(&newest.state, &ContainerState::Created);
            continue;
        }
        let newest_attempt = held.instances(&start.name).map(|c| c.attempt).max();
        prop_assert!(newest_attempt.is_none_or(|newest| start.attempt > newest));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_state_converges_to_an_idle_plan((pod, mut held) in any_runtime()) {
        let mut now = 10_000;
        for _ in 0..6 {
            let plan = plan_pod(&observe(&pod, held.clone()).now(now).build());
            check_start_is_alone(&plan, &held)?;
            if plan.is_idle() {
                if plan.verdict == Verdict::Continue {
                    for spec in &pod.spec().containers {
                        let newest = held.newest(&spec.name).unwrap();
                        let hash = container_hash(spec);
                        prop_assert!(newest.is_running() || newest.exit().is_some());
                        prop_assert!(!newest.is_running() || newest.spec_hash == Some(hash));
                    }
                }
                return Ok(());
            }
            apply(&plan, &pod, &mut held, now);
            now += 1_000;
        }
        prop_assert!(false, "still busy: {held:?}");
    }

    #[test]
    fn terminating_pod_starts_nothing_and_ends((pod, mut held) in any_runtime(), grace in 0u64..60) {
        for turn in 0..4 {
            let seen = observe(&pod, held.clone()).terminating(EndCause::Deleted, 100, grace);
            let plan = plan_pod(&seen.now(100 + turn).build());
            prop_assert!(plan.start.is_empty());
            let creates = matches!(plan.sandbox, SandboxStep::Create { .. });
            prop_assert!(!creates);
            if plan.verdict == Verdict::Stopped {
                prop_assert!(held.containers.iter().all(|c| !may_run(c)));
                return Ok(());
            }
            apply(&plan, &pod, &mut held, 100 + turn);
        }
        prop_assert!(false, "still not stopped: {held:?}");
    }

    #[test]
    fn grace_of_a_stop_never_grows(grace in 0u64..60, later in 0u64..60, passed in 0i64..40) {
        let pod = pod("ns/web").container("a").build();
        let held = runtime(&pod).sandbox(0).running("a", 0).build();
        let ending = |lifecycle: Lifecycle, now: i64| Observation {
            lifecycle,
            ..observe(&pod, held.clone()).now(now).build()
        };
        let seconds = std::time::Duration::from_secs;
        let first = Lifecycle::Syncing.terminate(EndCause::Deleted, seconds(grace), at(100));
        let before = plan_pod(&ending(first.clone(), 100)).stop[0].grace;
        let second = first.terminate(EndCause::Deleted, seconds(later), at(100 + passed));
        let after = plan_pod(&ending(second, 100 + passed)).stop[0].grace;
        prop_assert!(after <= before);
    }

    #[test]
    fn pod_that_has_ended_is_left_alone((pod, held) in any_runtime()) {
        let cause = EndCause::Completed;
        for lifecycle in [
            Lifecycle::Waiting,
            Lifecycle::Terminated { cause: cause.clone() },
            Lifecycle::Finished { cause },
        ] {
            let seen = Observation { lifecycle, ..observe(&pod, held.clone()).build() };
            prop_assert_eq!(plan_pod(&seen), PodPlan::default());
        }
    }

    #[test]
    fn what_is_in_flight_is_not_ordered_again((pod, held) in any_runtime()) {
        let plan = plan_pod(&observe(&pod, held.clone()).build());
        let mut busy = observe(&pod, held).in_flight(Slow::BringUp).in_flight(Slow::Removal);
        for stop in &plan.stop {
            busy = busy.stopping(stop.id.as_str(), 100);
        }
        prop_assert!(plan_pod(&busy.build()).is_idle());
    }
}

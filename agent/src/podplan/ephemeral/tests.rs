use super::*;
use crate::podplan::Observation;
use crate::testing::build::{at, pod, runtime};
use crate::testing::observe::observe;

fn need_of(seen: &Observation) -> Need<'_> {
    let pod = seen.pod.as_ref().unwrap();
    ephemeral(Look::new(seen, pod)).next().unwrap().need
}

#[test]
fn state_of_the_only_instance_decides() {
    let pod = pod("ns/web").container("app").ephemeral("debug", None).build();
    let running = ContainerState::Running { started_at: at(1) };
    let start = |created| Need::Start(Start { created, ..Start::default() });
    let id = ContainerId::from("debug-0");
    let table = [
        (None, true, start(None)),
        (None, false, Need::NotDue),
        (Some(ContainerState::Created), true, start(Some(&id))),
        (Some(ContainerState::Created), false, Need::Done),
        (Some(crate::testing::build::exited(1, 50)), true, Need::Done),
    ];
    for (state, serves, expected) in table {
        let mut held = runtime(&pod);
        if serves {
            held = held.sandbox(0);
        }
        if let Some(state) = state.clone() {
            held = held.container("debug", 0, state);
        }
        let seen = observe(&pod, held.build()).build();
        assert_eq!(need_of(&seen), expected, "{state:?} {serves}");
    }
    for state in [running, ContainerState::Unknown] {
        let held = runtime(&pod).sandbox(0).container("debug", 0, state.clone()).build();
        let seen = observe(&pod, held).build();
        assert!(matches!(need_of(&seen), Need::Keep(_)), "{state:?}");
    }
}

#[test]
fn published_ephemeral_container_never_runs_again() {
    let pod = pod("ns/web").container("app").ephemeral("debug", None).build();
    let status = crate::testing::build::published_running("debug", 0);
    let previous = api::PodStatus {
        ephemeral_container_statuses: Some(vec![status]),
        ..api::PodStatus::default()
    };
    let seen = observe(&pod, runtime(&pod).sandbox(0).build()).previous(previous).build();
    assert_eq!(need_of(&seen), Need::Done);
}

#[test]
fn target_is_waited_for_and_its_id_handed_on() {
    let pod = pod("ns/web").container("app").ephemeral("debug", Some("app")).build();
    let seen = observe(&pod, runtime(&pod).sandbox(0).build()).build();
    let Need::Later(held) = need_of(&seen) else { panic!("it waits") };
    assert_eq!(held.message, "unable to find target container app");
    assert_eq!(held.reason, reason::CREATE_CONTAINER_CONFIG_ERROR);
    let held = runtime(&pod).sandbox(0).exited("app", 0, 1, 50).running("app", 1).build();
    let seen = observe(&pod, held).build();
    let Need::Start(start) = need_of(&seen) else { panic!("it starts") };
    assert_eq!(start.target, Some(&ContainerId::from("app-1")));
}

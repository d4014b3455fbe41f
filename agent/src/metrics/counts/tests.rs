use expect_test::expect;

use super::count;
use crate::model::{ContainerState, RuntimePods};
use crate::podsource::DesiredPods;
use crate::podworker::{EndCause, Lifecycle, WorkerState, WorkerStates};
use crate::testing::build::{PodBuilder, at, pod, runtime};

fn page(desired: &DesiredPods, workers: &WorkerStates, runtime: Option<&RuntimePods>) -> String {
    let text = crate::metrics::render(count(desired, workers, runtime).families());
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn desired(pods: impl IntoIterator<Item = PodBuilder>) -> DesiredPods {
    let pods = pods.into_iter().map(PodBuilder::build);
    DesiredPods {
        pods: pods.map(|pod| (pod.uid().clone(), pod)).collect(),
        ..DesiredPods::default()
    }
}

fn worker(builder: PodBuilder, lifecycle: Lifecycle) -> WorkerState {
    let pod = builder.build();
    WorkerState { full_name: pod.full_name().clone(), pod: Some(pod), lifecycle }
}

#[test]
fn pods_count_by_what_is_wanted_and_what_has_become_of_them() {
    let ended = || Lifecycle::Finished { cause: EndCause::Completed };
    let wanted = desired([pod("ns/runs"), pod("ns/done"), pod("ns/new")]);
    let mut workers = WorkerStates::new();
    for (builder, stage) in [
        (pod("ns/runs"), Lifecycle::Syncing),
        (pod("ns/done"), ended()),
        (
            pod("ns/gone"),
            Lifecycle::Terminating {
                cause: EndCause::Deleted,
                since: at(0),
                grace: std::time::Duration::ZERO,
            },
        ),
    ] {
        let state = worker(builder, stage);
        let uid = state.pod.as_ref().unwrap().uid().clone();
        workers.insert(uid, state);
    }
    let mut stray = worker(pod("ns/stray"), Lifecycle::Syncing);
    let uid = stray.pod.take().unwrap().uid().clone();
    workers.insert(uid, stray);
    expect![[r#"
        kubelet_active_pods{static=""} 2
        kubelet_desired_pods{static=""} 3
        kubelet_working_pods{config="desired",lifecycle="sync",static=""} 1
        kubelet_working_pods{config="desired",lifecycle="terminated",static=""} 1
        kubelet_working_pods{config="orphan",lifecycle="terminating",static=""} 1
        kubelet_working_pods{config="runtime_only",lifecycle="sync",static="unknown"} 1
    "#]]
    .assert_eq(&page(&wanted, &workers, None));
}

#[test]
fn containers_count_by_state_once_the_runtime_was_listed() {
    let running = ContainerState::Running { started_at: at(0) };
    let one = pod("ns/one").build();
    let held = runtime(&one)
        .sandbox(0)
        .container("a", 0, running)
        .container("b", 0, ContainerState::Created)
        .build();
    let pods: RuntimePods = [(one.uid().clone(), held.into())].into();
    expect![[r#"
        kubelet_running_containers{container_state="created"} 1
        kubelet_running_containers{container_state="running"} 1
        kubelet_running_pods 1
    "#]]
    .assert_eq(&page(&DesiredPods::default(), &WorkerStates::new(), Some(&pods)));
}

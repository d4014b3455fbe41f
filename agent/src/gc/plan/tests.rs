use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::ContainerState;
use crate::testing::build::{at, exited, pod, runtime};

/// A pod with instances `POD-NAME-N` of its containers, made 10 s apart. All have ended, but the
/// last one of those in `running`.
fn held(name: &str, containers: &[(&str, u32)], running: &[&str]) -> RuntimePod {
    let new = pod(&format!("ns/{name}"));
    let built = containers.iter().fold(new, |pod, (container, _)| pod.container(container)).build();
    let mut held = runtime(&built).sandbox(0);
    for (container, count) in containers {
        for attempt in 0..*count {
            held = held.container_with(container, attempt, |made| {
                let second = i64::from(attempt) * 10;
                made.id = ContainerId::from(format!("{name}-{container}-{attempt}"));
                made.created_at = at(second);
                made.state = match attempt + 1 == *count && running.contains(container) {
                    true => ContainerState::Running { started_at: at(second) },
                    false => exited(1, second + 5),
                };
            });
        }
    }
    held.build()
}

fn finished() -> Lifecycle {
    Lifecycle::Finished { cause: EndCause::Completed }
}

/// Ids of what is to go, at second 1000.
fn gone(pods: &[(RuntimePod, Lifecycle)], limits: DeadContainers) -> Vec<String> {
    let runtime: RuntimePods =
        pods.iter().map(|(pod, _)| (pod.uid.clone(), Arc::new(pod.clone()))).collect();
    let worker = |pod: &RuntimePod, stage: &Lifecycle| WorkerState {
        full_name: pod.full_name.clone(),
        pod: None,
        lifecycle: stage.clone(),
    };
    let workers: WorkerStates =
        pods.iter().map(|(pod, stage)| (pod.uid.clone(), worker(pod, stage))).collect();
    let of = |excess: Excess| {
        let containers = excess.containers.into_iter().map(|container| container.id.to_string());
        let sandboxes = excess.sandboxes.into_iter().map(|sandbox| sandbox.to_string());
        containers.chain(sandboxes).collect::<Vec<_>>()
    };
    let found = excess(&runtime, &workers, &limits, at(1000));
    let mut ids: Vec<String> = found.into_iter().flat_map(of).collect();
    ids.sort();
    ids
}

fn limits(per_container: Option<u32>, total: Option<u32>) -> DeadContainers {
    DeadContainers { per_container, total, ..DeadContainers::default() }
}

#[test]
fn dead_containers_are_bounded() {
    type Case = (Vec<(RuntimePod, Lifecycle)>, DeadContainers, &'static [&'static str]);
    let live = |count| (held("live", &[("app", count)], &["app"]), Lifecycle::Syncing);
    let crashed = |count| (held("crash", &[("app", count)], &[]), Lifecycle::Syncing);
    let over = |count| (held("over", &[("app", count)], &[]), finished());
    let cases: [Case; 10] = [
        (vec![live(2)], limits(Some(1), None), &[]),
        (vec![live(4)], limits(Some(1), None), &["live-app-0", "live-app-1"]),
        (vec![live(4)], limits(Some(2), None), &["live-app-0"]),
        (vec![live(4)], limits(None, None), &[]),
        (vec![live(2)], limits(Some(0), None), &["live-app-0"]),
        // The last end of a container that may run again says when.
        (vec![crashed(3)], limits(Some(1), None), &["crash-app-0", "crash-app-1"]),
        (vec![crashed(1)], limits(Some(0), Some(0)), &[]),
        (vec![over(2)], limits(Some(1), None), &["over-app-0"]),
        (vec![over(2)], limits(Some(0), None), &["over-app-0", "over-app-1"]),
        (vec![over(1), live(2)], limits(None, Some(0)), &["live-app-0", "over-app-0"]),
    ];
    for (pods, limits, expected) in cases {
        assert_eq!(gone(&pods, limits), expected, "{limits:?}");
    }
}

#[test]
fn limit_of_all_pods_takes_the_oldest_and_leaves_each_container_its_last() {
    let pods = [
        (held("a", &[("x", 4), ("y", 1)], &[]), finished()),
        (held("b", &[("x", 2)], &[]), finished()),
    ];
    assert_eq!(gone(&pods, limits(None, Some(7))), [""; 0]);
    // Two each, as far as there are.
    assert_eq!(gone(&pods, limits(None, Some(6))), ["a-x-0", "a-x-1"]);
    assert_eq!(gone(&pods, limits(None, Some(3))), ["a-x-0", "a-x-1", "a-x-2", "b-x-0"]);
    // Fewer than there are containers: the oldest of them go.
    let left = gone(&pods, limits(None, Some(2)));
    assert_eq!(left, ["a-x-0", "a-x-1", "a-x-2", "a-y-0", "b-x-0"]);
}

#[test]
fn young_containers_stay() {
    let pods = [(held("a", &[("x", 4)], &["x"]), Lifecycle::Syncing)];
    let limits = DeadContainers { min_age: Duration::from_secs(995), ..limits(Some(0), Some(0)) };
    assert_eq!(gone(&pods, limits), ["a-x-0"]);
}

#[test]
fn evicted_pod_leaves_nothing_in_the_runtime() {
    let evicted = Lifecycle::Finished { cause: EndCause::Preempted { message: String::new() } };
    let mut pod = held("a", &[("x", 2)], &[]);
    let pods = |pod: &RuntimePod| [(pod.clone(), evicted.clone())];
    // A sandbox that has not ended is still somebody's.
    assert_eq!(gone(&pods(&pod), limits(None, None)), ["a-x-0", "a-x-1"]);
    pod.sandboxes[0].state = SandboxState::NotReady;
    assert_eq!(gone(&pods(&pod), limits(None, None)), ["a-x-0", "a-x-1", "sandbox-0"]);
    pod.containers.clear();
    assert_eq!(gone(&pods(&pod), limits(None, None)), ["sandbox-0"]);
}

#[test]
fn pod_without_a_worker_is_left_to_the_one_it_gets() {
    let pod = held("a", &[("x", 3)], &[]);
    let runtime = RuntimePods::from([(pod.uid.clone(), Arc::new(pod))]);
    assert_eq!(excess(&runtime, &WorkerStates::new(), &limits(Some(0), Some(0)), at(1000)), []);
}

#[test]
fn only_directories_named_after_pods_are_theirs() {
    for (name, uid) in [
        ("ns_web-0_1234-abcd", Some("1234-abcd")),
        ("1234-abcd", None),
        ("ns_web", None),
        ("ns__uid", None),
        ("_web_uid", None),
        ("ns_web_", None),
        ("a_b_c_d", None),
    ] {
        assert_eq!(pod_of_log_dir(name), uid.map(PodUid::from), "{name}");
    }
}

#[test]
fn link_of_a_running_container_stays() {
    let mut pod = held("web", &[("app", 1), ("old", 1)], &["app"]);
    for container in &mut pod.containers {
        let id = if container.name == "app" { "abc123" } else { "def456" };
        container.id = ContainerId::from(id);
    }
    let runtime = RuntimePods::from([(pod.uid.clone(), Arc::new(pod))]);
    for (name, dead) in [
        ("web_ns_app-abc123.log", false),
        // Cut off, because the whole name would be too long.
        ("web_ns_app-abc.log", false),
        ("web_ns_old-def456.log", true),
        ("web_ns_app-fff999.log", true),
        ("web_ns_app-.log", false),
        ("notes.txt", false),
        ("plain.log", false),
    ] {
        assert_eq!(is_dead_link(name, &runtime), dead, "{name}");
    }
}

proptest! {
    #[test]
    fn nothing_that_runs_or_decides_a_restart_goes(
        counts in prop::collection::vec((1..5_u32, any::<bool>(), any::<bool>()), 1..5),
        per_container in prop::option::of(0..3_u32),
        total in prop::option::of(0..6_u32),
    ) {
        let make = |(at, (count, runs, is_over)): (usize, &(u32, bool, bool))| {
            let running: &[&str] = if *runs && !is_over { &["x"] } else { &[] };
            let stage = if *is_over { finished() } else { Lifecycle::Syncing };
            (held(&format!("p{at}"), &[("x", *count)], running), stage)
        };
        let pods: Vec<(RuntimePod, Lifecycle)> = counts.iter().enumerate().map(make).collect();
        let gone = gone(&pods, limits(per_container, total));
        let is_gone = |container: &Container| gone.contains(&container.id.to_string());
        for (pod, stage) in &pods {
            prop_assert!(stage.is_finished() || !is_gone(pod.newest("x").unwrap()));
            prop_assert!(!pod.containers.iter().any(|c| c.is_running() && is_gone(c)));
        }
        let all = pods.iter().flat_map(|(pod, _)| &pod.containers);
        let dead = all.filter(|c| c.exit().is_some() && !is_gone(c)).count();
        let live = pods.iter().filter(|(_, stage)| !stage.is_finished()).count();
        if let Some(total) = total {
            prop_assert!(dead <= usize::try_from(total).unwrap() + live);
        }
    }
}

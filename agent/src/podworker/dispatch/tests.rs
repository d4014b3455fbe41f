use std::sync::Arc;

use super::*;
use crate::model::RuntimePod;
use crate::podworker::{Lifecycle, WorkerState};
use crate::testing::build::{PodBuilder, at, pod, runtime};

/// One look of the pool.
#[derive(Default)]
struct Look {
    desired: DesiredPods,
    workers: WorkerStates,
    finished: HashSet<PodUid>,
    runtime: RuntimePods,
}

impl Look {
    fn desired(mut self, builder: PodBuilder) -> Self {
        let pod = builder.build();
        self.desired.pods.insert(pod.uid().clone(), pod);
        self
    }

    fn synced(mut self) -> Self {
        self.desired.all_synced = true;
        self
    }

    fn worker(mut self, builder: PodBuilder) -> Self {
        let pod = builder.build();
        let state = WorkerState {
            full_name: pod.full_name().clone(),
            pod: Some(pod.clone()),
            lifecycle: Lifecycle::Syncing,
        };
        self.workers.insert(pod.uid().clone(), state);
        self
    }

    fn finished(mut self, uid: &str) -> Self {
        self.finished.insert(uid.into());
        self
    }

    fn held(mut self, builder: PodBuilder) -> Self {
        let held: RuntimePod = runtime(&builder.build()).sandbox(0).build();
        self.runtime.insert(held.uid.clone(), Arc::new(held));
        self
    }

    fn orders(&self) -> Vec<WorkerOrder> {
        dispatch(&DispatchInput {
            desired: &self.desired,
            workers: &self.workers,
            finished: &self.finished,
            runtime: &self.runtime,
            now: at(100),
        })
    }

    fn demands(&self) -> Vec<Demand> {
        let demand = |order| match order {
            WorkerOrder::Start { demand, .. } => demand,
            WorkerOrder::Update { wish, .. } => wish.demand,
            WorkerOrder::EndOrphan { .. } => Demand::Orphan,
        };
        self.orders().into_iter().map(demand).collect()
    }
}

fn grace(seconds: u64) -> Demand {
    Demand::Delete { grace: Duration::from_secs(seconds) }
}

#[test]
fn oldest_pod_is_started_first() {
    let look = Look::default()
        .desired(pod("ns/young").created_at(20))
        .desired(pod("ns/old").created_at(10));
    let started = |order| match order {
        WorkerOrder::Start { pod, .. } => pod.name().to_owned(),
        other => panic!("not a start: {other:?}"),
    };
    let names: Vec<_> = look.orders().into_iter().map(started).collect();
    assert_eq!(names, ["old", "young"]);
}

#[test]
fn finished_pod_is_not_started_again() {
    let look = Look::default().desired(pod("ns/web")).finished("uid-web");
    assert!(look.orders().is_empty());
}

#[test]
fn orphan_is_ended_only_when_all_sources_have_spoken() {
    let look = Look::default().held(pod("ns/web"));
    assert!(look.orders().is_empty());
    assert_eq!(look.synced().demands(), [Demand::Orphan]);
}

#[test]
fn pod_that_vanished_from_the_api_gets_no_grace() {
    let look = Look::default().worker(pod("ns/web").grace(60));
    assert_eq!(look.demands(), [Demand::Vanish { grace: Duration::ZERO }]);
}

#[test]
fn static_pod_whose_manifest_vanished_gets_the_grace_of_its_spec() {
    let look = Look::default().worker(pod("ns/web").grace(20).source(PodSource::File));
    assert_eq!(look.demands(), [Demand::Vanish { grace: Duration::from_secs(20) }]);
}

#[test]
fn deletion_met_after_a_restart_has_what_is_left_of_its_grace() {
    let deleted = || pod("ns/web").deleted(80, 30);
    assert_eq!(Look::default().desired(deleted()).demands(), [grace(10)]);
    let known = Look::default().desired(deleted()).worker(pod("ns/web"));
    assert_eq!(known.demands(), [grace(30)]);
    let late = Look::default().desired(pod("ns/web").deleted(20, 30));
    assert_eq!(late.demands(), [grace(0)]);
}

#[test]
fn static_pod_waits_for_its_namesake_and_a_pod_of_the_api_does_not() {
    let old = |source| pod("ns/web").uid("old").source(source);
    let look = Look::default().worker(old(PodSource::File)).desired(old(PodSource::File));
    let new = pod("ns/web").uid("new");
    let waiting = look.desired(new.clone().source(PodSource::File));
    assert!(!waiting.orders().iter().any(|order| matches!(order, WorkerOrder::Start { .. })));
    let look = Look::default().worker(old(PodSource::Api)).desired(old(PodSource::Api));
    let beside = look.desired(new);
    assert!(beside.orders().iter().any(|order| matches!(order, WorkerOrder::Start { .. })));
}

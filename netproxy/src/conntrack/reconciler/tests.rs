use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::{AT_ONCE, ConntrackReconciler, Reconcile, ReconcileOutcome};
use crate::config::IpFamily;
use crate::conntrack::{Flow, UdpTargets};
use crate::testing::FakeConntrack;

struct Running {
    conntrack: Arc<FakeConntrack>,
    reconciler: ConntrackReconciler,
    outcomes: UnboundedReceiver<ReconcileOutcome>,
}

impl Running {
    fn start() -> Self {
        let conntrack = FakeConntrack::new();
        let (observe, outcomes) = unbounded_channel();
        let reconciler = ConntrackReconciler::spawn(conntrack.clone(), move |outcome| {
            let _ = observe.send(outcome);
        });
        Self { conntrack, reconciler, outcomes }
    }

    async fn next(&mut self) -> ReconcileOutcome {
        timeout(Duration::from_secs(600), self.outcomes.recv()).await.unwrap().unwrap()
    }
}

fn flow(source_port: u16, answered_by: &str) -> Flow {
    Flow {
        source: ([10, 0, 0, 9], source_port).into(),
        destination: "10.96.0.10:53".parse().unwrap(),
        answered_by: answered_by.parse().unwrap(),
    }
}

fn dns(endpoints: &[&str]) -> Reconcile {
    let target = UdpTargets {
        addresses: vec!["10.96.0.10:53".parse().unwrap()],
        node_port: None,
        endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
    };
    Reconcile { family: IpFamily::V4, targets: vec![target], node_port_addresses: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn stale_entries_go_and_the_outcome_tells_how_many() {
    let mut running = Running::start();
    running.conntrack.add(flow(1, "10.0.0.1:53"));
    running.conntrack.add(flow(2, "10.0.0.2:53"));
    running.reconciler.reconcile(dns(&["10.0.0.1:53"]));
    let outcome = running.next().await;
    assert_eq!((outcome.family, outcome.deleted, outcome.failure), (IpFamily::V4, 1, None));
    assert_eq!(running.conntrack.flows(), [flow(1, "10.0.0.1:53")]);
}

#[tokio::test(start_paused = true)]
async fn without_udp_ports_the_kernel_is_not_asked() {
    let mut running = Running::start();
    running.reconciler.reconcile(Reconcile { targets: Vec::new(), ..dns(&[]) });
    assert_eq!(running.next().await.deleted, 0);
    assert_eq!(running.conntrack.dumps(), 0);
}

#[tokio::test(start_paused = true)]
async fn failed_look_is_repeated_with_growing_delays() {
    let mut running = Running::start();
    running.conntrack.add(flow(1, "10.0.0.2:53"));
    for _ in 0..3 {
        running.conntrack.fail_next_dump();
    }
    running.reconciler.reconcile(dns(&["10.0.0.1:53"]));
    let start = Instant::now();
    let mut seen = Vec::new();
    loop {
        let outcome = running.next().await;
        seen.push(start.elapsed().as_secs());
        if outcome.failure.is_none() {
            assert_eq!(outcome.deleted, 1);
            break;
        }
    }
    assert_eq!(seen, [0, 1, 3, 7]);
    assert!(running.conntrack.flows().is_empty());
}

#[tokio::test(start_paused = true)]
async fn newer_state_is_looked_at_at_once_also_while_a_retry_waits() {
    let mut running = Running::start();
    running.conntrack.fail_next_dump();
    running.reconciler.reconcile(dns(&["10.0.0.1:53"]));
    assert!(running.next().await.failure.is_some());
    let start = Instant::now();
    running.reconciler.reconcile(dns(&["10.0.0.2:53"]));
    assert_eq!(running.next().await.failure, None);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_state_of_a_family_counts() {
    let mut running = Running::start();
    for endpoint in ["10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53"] {
        running.reconciler.reconcile(dns(&[endpoint]));
    }
    running.conntrack.add(flow(3, "10.0.0.3:53"));
    assert_eq!(running.next().await.deleted, 0);
    assert_eq!(running.conntrack.dumps(), 1);
}

#[tokio::test(start_paused = true)]
async fn flow_to_an_endpoint_that_came_during_the_dump_stays() {
    let mut running = Running::start();
    running.conntrack.add(flow(1, "10.0.0.1:53"));
    running.conntrack.add(flow(2, "10.0.0.2:53"));
    let release = running.conntrack.hold_dumps();
    running.reconciler.reconcile(dns(&["10.0.0.9:53"]));
    running.conntrack.dump_waits().await;
    running.reconciler.reconcile(dns(&["10.0.0.2:53"]));
    drop(release);
    assert_eq!(running.next().await.deleted, 1);
    assert_eq!(running.next().await.deleted, 0, "the newer state gets its own look");
    assert_eq!(running.conntrack.flows(), [flow(2, "10.0.0.2:53")]);
}

#[tokio::test(start_paused = true)]
async fn more_entries_than_fit_go_in_rounds() {
    let mut running = Running::start();
    for number in 0..AT_ONCE + 3 {
        let [_, b, c, d] = u32::try_from(number).unwrap().to_be_bytes();
        let source = ([10, b, c, d], 4000).into();
        running.conntrack.add(Flow { source, ..flow(1, "10.0.0.2:53") });
    }
    running.reconciler.reconcile(dns(&["10.0.0.1:53"]));
    assert_eq!(running.next().await.deleted, AT_ONCE + 3);
    assert_eq!(running.conntrack.dumps(), 2);
}

#[tokio::test(start_paused = true)]
async fn task_ends_with_its_handle() {
    let mut running = Running::start();
    let release = running.conntrack.hold_dumps();
    running.reconciler.reconcile(dns(&["10.0.0.1:53"]));
    running.conntrack.dump_waits().await;
    drop(running.reconciler);
    assert_eq!(running.outcomes.recv().await, None);
    drop(release);
}

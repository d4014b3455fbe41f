use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::{ServiceFacts, ServiceTask, WatchdogTask};
use crate::boundary::Supervisor;
use crate::liveness::Liveness;
use crate::model::RuntimePods;
use crate::node::NodeView;

const PERIOD: Duration = Duration::from_secs(60);

/// Keeps what it is told.
#[derive(Default)]
struct FakeSupervisor {
    told: Mutex<Vec<String>>,
}

impl FakeSupervisor {
    fn note(&self, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
    }

    /// What was told since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

impl Supervisor for FakeSupervisor {
    fn ready(&self) {
        self.note("ready");
    }

    fn status(&self, line: &str) {
        self.note(line);
    }

    fn alive(&self) {
        self.note("alive");
    }

    fn watchdog_period(&self) -> Option<Duration> {
        Some(PERIOD)
    }
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_starves_while_a_loop_is_silent_and_is_fed_again_after() {
    let supervisor = Arc::new(FakeSupervisor::default());
    let liveness = Liveness::default();
    let pulse = liveness.watch("pleg", Duration::from_secs(100));
    let never_begun = liveness.watch("lease", Duration::from_secs(1));
    tokio::spawn(WatchdogTask::new(supervisor.clone(), liveness).run());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(supervisor.take(), ["alive"]);
    pulse.beat();
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(supervisor.take(), ["alive", "alive", "alive"]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(supervisor.take(), [""; 0]);
    pulse.beat();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(supervisor.take(), ["alive"]);
    drop(never_begun);
}

fn facts(
    registers: bool,
) -> (watch::Sender<NodeView>, watch::Sender<Option<Arc<RuntimePods>>>, ServiceFacts) {
    let (view, node) = watch::channel(NodeView::default());
    let (pods, runtime) = watch::channel(None);
    (view, pods, ServiceFacts { node, runtime, registers })
}

#[tokio::test(start_paused = true)]
async fn the_service_is_ready_once_the_node_is_known_and_the_runtime_listed() {
    let supervisor = Arc::new(FakeSupervisor::default());
    let (view, pods, facts) = facts(true);
    tokio::spawn(ServiceTask::new(supervisor.clone(), facts).run());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(supervisor.take(), ["Waiting for the API server to register the node"]);
    view.send_modify(|view| view.node = Some(Arc::default()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(supervisor.take(), ["Reading what the runtime holds"]);
    pods.send_replace(Some(Arc::default()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(supervisor.take(), ["Ready; 0 pods", "ready"]);
    view.send_modify(|view| view.network_problem = Some("no CNI".to_owned()));
    view.send_modify(|view| view.network_problem = None);
    pods.send_replace(Some(Arc::default()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(supervisor.take(), [""; 0], "nothing new is not told again");
}

#[tokio::test(start_paused = true)]
async fn without_an_api_server_the_listed_runtime_is_enough() {
    let supervisor = Arc::new(FakeSupervisor::default());
    let (_view, pods, facts) = facts(false);
    tokio::spawn(ServiceTask::new(supervisor.clone(), facts).run());
    pods.send_replace(Some(Arc::default()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(supervisor.take(), ["Ready; 0 pods", "ready"]);
}

//! Keeps the Node: registers it, reports its status, follows the object.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::allocatable::Reservations;
use super::jitter;
use super::poll::RuntimePoll;
use super::runtime_state::RuntimeReport;
use super::status_round::StatusRound;
use super::view::NodeView;
use crate::boundary::{ImageService, Machine, NodesApi, RuntimeError, RuntimeFacts};
use crate::config::AgentConfig;
use crate::events::EventsHandle;
use crate::liveness::Pulse;
use crate::reason::node_event;

/// Status rounds are spread by so much (kubelet v1.36).
const JITTER: f64 = 0.04;

/// Time until the runtime is told the pod CIDRs again when it did not take them.
const CIDR_RETRY: Duration = Duration::from_secs(5);

/// What the task works with.
pub struct NodeParts {
    pub config: Arc<AgentConfig>,
    pub reservations: Reservations,
    /// `None` in standalone mode: the machine is looked at, nothing is published.
    pub api: Option<Arc<dyn NodesApi>>,
    pub machine: Arc<dyn Machine>,
    pub runtime: Arc<dyn RuntimeFacts>,
    pub images: Arc<dyn ImageService>,
    /// Why the PLEG is not healthy; `None` when it is.
    pub pleg_health: watch::Receiver<Option<String>>,
    pub events: EventsHandle,
}

/// Only writer of the Node and of the `NodeView`.
///
/// ```text
/// RuntimePoll ──RuntimeReport──┬──> follow ──────────────> NodeView
/// PLEG health ─────────────────┴──> report ──> StatusRound ──> Node
/// Node watch ─────────────────────> follow        (timer, or a changed report)
/// ```
pub struct NodeTask {
    parts: Arc<NodeParts>,
    view: Arc<watch::Sender<NodeView>>,
    report: watch::Sender<RuntimeReport>,
    pulse: Pulse,
}

impl NodeTask {
    /// The task and what it will publish.
    pub fn new(parts: NodeParts) -> (watch::Receiver<NodeView>, Self) {
        let (view, receiver) = watch::channel(NodeView::unknown(&parts.config.node_name));
        let (report, _) = watch::channel(RuntimeReport::default());
        let pulse = Pulse::default();
        (receiver, Self { parts: Arc::new(parts), view: Arc::new(view), report, pulse })
    }

    /// Gives a sign of life with every status round, whether the API server takes it or not.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = pulse;
        self
    }

    /// Works for ever. The parts run side by side, so that a slow API server does not keep the view
    /// from telling that the network is there.
    pub async fn run(self) {
        let poll = RuntimePoll {
            runtime: Arc::clone(&self.parts.runtime),
            images: Arc::clone(&self.parts.images),
            machine: Arc::clone(&self.parts.machine),
            report: self.report.clone(),
        };
        tokio::join!(
            poll.run(),
            self.follow_runtime(),
            self.follow_node(),
            self.report(),
            self.hand_on_cidrs()
        );
    }

    /// Tells the view what the runtime says.
    async fn follow_runtime(&self) {
        let mut report = self.report.subscribe();
        loop {
            let (runtime, network, features) = {
                let report = report.borrow_and_update();
                let silence = report.silence.clone();
                let network = report.network_problem.clone();
                let runtime = report.blocking_problem().map(str::to_owned);
                (runtime, network.or(silence), report.features.clone())
            };
            self.view.send_if_modified(|view| {
                let changed = view.runtime_problem != runtime
                    || view.network_problem != network
                    || view.features != features;
                view.features = features;
                view.runtime_problem = runtime;
                view.network_problem = network;
                changed
            });
            if report.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells the view what others write into the Node.
    async fn follow_node(&self) {
        let Some(api) = &self.parts.api else { return };
        let mut nodes = api.watch_node();
        while let Some(node) = nodes.recv().await {
            self.view.send_modify(|view| view.set_node(node));
        }
    }

    /// Registers, then does the rounds: on the timer, and at once when runtime, network or PLEG
    /// change.
    async fn report(&self) {
        let mut report = self.report.subscribe();
        let mut pleg = self.parts.pleg_health.clone();
        let view = Arc::clone(&self.view);
        let mut round = StatusRound::new(Arc::clone(&self.parts), view, report.clone());
        round.publish_event(false, node_event::STARTING, "Starting kubelet.".to_owned());
        if let Some(api) = &self.parts.api {
            round.register(&**api).await;
        }
        let interval = self.parts.config.cadence.node_status_update;
        let mut pleg_lives = true;
        loop {
            self.pulse.beat();
            let before =
                (report.borrow_and_update().problems(None), pleg.borrow_and_update().clone());
            match &self.parts.api {
                Some(api) => round.post(&**api).await,
                None => round.observe_only().await,
            }
            let timer = tokio::time::sleep(jitter::lengthened(interval, JITTER));
            tokio::pin!(timer);
            // Watches and timer lose nothing when another arm wins.
            loop {
                tokio::select! {
                    () = &mut timer => break,
                    changed = report.changed() => if changed.is_err() { return },
                    changed = pleg.changed(), if pleg_lives => pleg_lives = changed.is_ok(),
                }
                // Images and versions change too, and can wait for the timer.
                let now =
                    (report.borrow_and_update().problems(None), pleg.borrow_and_update().clone());
                if now != before {
                    break;
                }
            }
        }
    }

    /// Tells the runtime the pod CIDRs, which some fill a CNI template from.
    async fn hand_on_cidrs(&self) {
        let mut view = self.view.subscribe();
        let mut told: Vec<String> = Vec::new();
        loop {
            let cidrs = view.borrow_and_update().pod_cidrs.clone();
            if cidrs != told && !cidrs.is_empty() {
                match self.parts.runtime.update_pod_cidr(&cidrs.join(",")).await {
                    Ok(()) | Err(RuntimeError::Unimplemented(_)) => told = cidrs,
                    Err(error) => {
                        tracing::debug!(%error, "runtime did not take the pod CIDRs");
                        tokio::time::sleep(CIDR_RETRY).await;
                        continue;
                    }
                }
            }
            if view.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;

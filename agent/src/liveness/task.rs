//! The loops that speak to systemd.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::pulse::Liveness;
use super::status_line::{Shown, status_line};
use super::verdict::silent;
use crate::boundary::Supervisor;
use crate::model::RuntimePods;
use crate::node::NodeView;

/// A sign of life goes out twice in the time systemd waits for one (sd_watchdog_enabled(3)).
const SIGNS_PER_PERIOD: u32 = 2;

/// Feeds the service's watchdog while all watched loops live.
pub struct WatchdogTask {
    supervisor: Arc<dyn Supervisor>,
    liveness: Liveness,
    silent: Vec<&'static str>,
}

impl WatchdogTask {
    pub fn new(supervisor: Arc<dyn Supervisor>, liveness: Liveness) -> Self {
        Self { supervisor, liveness, silent: Vec::new() }
    }

    /// Feeds for ever; waits for ever when the service has no watchdog. While a loop is silent it
    /// feeds nothing, says which one once, and systemd ends the process when its patience is over.
    pub async fn run(mut self) {
        let Some(period) = self.supervisor.watchdog_period() else {
            return std::future::pending().await;
        };
        let interval = period / SIGNS_PER_PERIOD;
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            self.round(now, now.saturating_duration_since(due));
            due = now + interval;
            tokio::time::sleep_until(due).await;
        }
    }

    fn round(&mut self, now: Instant, overslept: Duration) {
        let silent = silent(&self.liveness.signs(now), overslept);
        if silent.is_empty() {
            self.supervisor.alive();
        }
        if silent != self.silent {
            match silent.is_empty() {
                true => tracing::info!(loops = ?self.silent, "all loops give signs of life again"),
                false => {
                    tracing::error!(loops = ?silent, "loops hang; systemd is left to restart noded");
                }
            }
            self.silent = silent;
        }
    }
}

/// What the state of the service follows from.
#[derive(Clone)]
pub struct ServiceFacts {
    pub node: watch::Receiver<NodeView>,
    /// What the runtime holds; `None` until it was listed, before which no pod is looked after.
    pub runtime: watch::Receiver<Option<Arc<RuntimePods>>>,
    /// Whether there is an API server to register with.
    pub registers: bool,
}

/// Says when the service is ready, and ever after how it is.
pub struct ServiceTask {
    supervisor: Arc<dyn Supervisor>,
    facts: ServiceFacts,
    ready: bool,
    shown: String,
}

impl ServiceTask {
    pub fn new(supervisor: Arc<dyn Supervisor>, facts: ServiceFacts) -> Self {
        Self { supervisor, facts, ready: false, shown: String::new() }
    }

    /// Runs for ever. Ready means: the API server knows the Node, unless there is none, and the
    /// runtime was listed, so that pods are looked after.
    pub async fn run(mut self) {
        loop {
            self.tell();
            // Both arms are cancel safe: watches.
            let open = tokio::select! {
                changed = self.facts.node.changed() => changed.is_ok(),
                changed = self.facts.runtime.changed() => changed.is_ok(),
            };
            if !open {
                // Their tasks end the process; there is nothing more to say.
                return std::future::pending().await;
            }
        }
    }

    fn tell(&mut self) {
        let registers = self.facts.registers;
        let (registered, line) = {
            let pods = self.facts.runtime.borrow_and_update().as_ref().map(|pods| pods.len());
            let view = self.facts.node.borrow_and_update();
            let registered = pods.is_some() && (!registers || view.node.is_some());
            (registered, status_line(&Shown { view: &view, registers, pods }))
        };
        if line != self.shown {
            self.supervisor.status(&line);
            self.shown = line;
        }
        if registered && !std::mem::replace(&mut self.ready, true) {
            self.supervisor.ready();
        }
    }
}

#[cfg(test)]
mod tests;

//! Keeps the mirror pods in step with the static pods; only writer of mirror pods.
//!
//! One call per pod is on the wire at a time. A failure is told once and tried again later; the
//! static pod itself never waits for any of this.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::merge::DesiredPods;
use super::mirror_plan::{MirrorStep, plan_mirrors};
use crate::boundary::{ApiError, PodsApi};
use crate::model::PodFullName;
use crate::node::NodeView;
use crate::podworker::WorkerStates;
use crate::timer::sleep_until;

#[cfg(test)]
mod tests;

/// First wait after a failure, doubling up to [`RETRY_CAP`]. The kubelet tries with each sync of
/// the pod, about once a minute (v1.36); a mirror pod should be seen sooner.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);

/// After a success the watch is given so much time to show it before the same step is planned
/// again.
const SETTLE: Duration = Duration::from_secs(1);

struct Rest {
    until: Instant,
    /// `None` after a success.
    failing: Option<(Duration, ApiError)>,
}

/// The loop; see [`MirrorTask::run`].
pub struct MirrorTask {
    api: Arc<dyn PodsApi>,
    desired: watch::Receiver<Arc<DesiredPods>>,
    workers: watch::Receiver<Arc<WorkerStates>>,
    node: watch::Receiver<NodeView>,
    rests: HashMap<PodFullName, Rest>,
    in_flight: HashSet<PodFullName>,
    calls: JoinSet<(PodFullName, Result<(), ApiError>)>,
}

impl MirrorTask {
    /// Nothing is done until [`Self::run`].
    pub fn new(
        api: Arc<dyn PodsApi>,
        desired: watch::Receiver<Arc<DesiredPods>>,
        workers: watch::Receiver<Arc<WorkerStates>>,
        node: watch::Receiver<NodeView>,
    ) -> Self {
        Self {
            api,
            desired,
            workers,
            node,
            rests: HashMap::new(),
            in_flight: HashSet::new(),
            calls: JoinSet::new(),
        }
    }

    /// Runs until one of its inputs ends.
    pub async fn run(mut self) {
        loop {
            self.begin_steps();
            let wake = self.next_wake();
            // All arms are cancel safe: watches, joining a set, a timer.
            let open = tokio::select! {
                changed = self.desired.changed() => changed.is_ok(),
                changed = self.workers.changed() => changed.is_ok(),
                changed = self.node.changed() => changed.is_ok(),
                Some(joined) = self.calls.join_next(), if !self.calls.is_empty() => {
                    if let Ok((name, outcome)) = joined {
                        self.settle(name, outcome);
                    }
                    true
                }
                () = sleep_until(wake), if wake.is_some() => true,
            };
            if !open {
                return;
            }
        }
    }

    fn plan(&mut self) -> BTreeMap<PodFullName, MirrorStep> {
        let desired = Arc::clone(&self.desired.borrow_and_update());
        let workers = Arc::clone(&self.workers.borrow_and_update());
        let node = self.node.borrow_and_update().node.clone();
        plan_mirrors(&desired, &workers, node.as_deref())
    }

    fn begin_steps(&mut self) {
        let steps = self.plan();
        self.rests.retain(|name, rest| {
            steps.contains_key(name) || (rest.failing.is_none() && rest.until > Instant::now())
        });
        for (name, step) in steps {
            let rests = self.rests.get(&name).is_some_and(|rest| rest.until > Instant::now());
            if rests || !self.in_flight.insert(name.clone()) {
                continue;
            }
            let api = Arc::clone(&self.api);
            self.calls.spawn(async move {
                let outcome = execute(&*api, &name, step).await;
                (name, outcome)
            });
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let now = Instant::now();
        self.rests.values().map(|rest| rest.until).filter(|until| *until > now).min()
    }

    fn settle(&mut self, name: PodFullName, outcome: Result<(), ApiError>) {
        self.in_flight.remove(&name);
        let before = self.rests.remove(&name).and_then(|rest| rest.failing);
        let (wait, failing) = match outcome {
            Ok(()) => {
                tracing::debug!(pod = %name, "mirror pod is in step");
                (SETTLE, None)
            }
            Err(error) => {
                let told = before.as_ref().is_some_and(|(_, old)| *old == error);
                if !told {
                    tracing::warn!(pod = %name, %error, "cannot keep the mirror pod in step, will retry");
                }
                let wait = before.map_or(RETRY_FIRST, |(wait, _)| (wait * 2).min(RETRY_CAP));
                (wait, Some((wait, error)))
            }
        };
        self.rests.insert(name, Rest { until: Instant::now() + wait, failing });
    }
}

async fn execute(api: &dyn PodsApi, name: &PodFullName, step: MirrorStep) -> Result<(), ApiError> {
    let (old, new) = match step {
        MirrorStep::Create(new) => (None, Some(new)),
        MirrorStep::Replace(old, new) => (Some(old), Some(new)),
        MirrorStep::Delete(old) => (Some(old), None),
    };
    if let Some(uid) = old {
        match api.delete_finished(&name.namespace, &name.name, &uid).await {
            // Somebody was faster.
            Ok(()) | Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(new) = new {
        api.create_pod(&new).await?;
        tracing::info!(pod = %name, "mirror pod is created");
    } else {
        tracing::info!(pod = %name, "mirror pod is deleted");
    }
    Ok(())
}

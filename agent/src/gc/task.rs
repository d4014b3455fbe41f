//! Looks for garbage once everything is known, each minute and after a pod is gone, and removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::plan::{self, Excess, Known};
use super::remains::{LeftoverError, Remains};
use crate::boundary::ApiEvent;
use crate::config::DeadContainers;
use crate::events::{EventsHandle, node_reference};
use crate::model::RuntimePods;
use crate::podsource::DesiredPods;
use crate::podworker::{WallClock, WorkerStates};
use crate::reason::node_event;
use crate::timer::sleep_until;

#[cfg(test)]
mod tests;

/// Time between two rounds (kubelet v1.36, `ContainerGCPeriod`).
const PERIOD: Duration = Duration::from_secs(60);

/// How long after a pod is gone what it left is looked for: together with what others leave that
/// go at the same time.
const AFTER_A_POD: Duration = Duration::from_secs(5);

/// What the task works with.
pub struct GcParts {
    pub node_name: String,
    pub limits: DeadContainers,
    pub desired: watch::Receiver<Arc<DesiredPods>>,
    pub workers: watch::Receiver<Arc<WorkerStates>>,
    pub runtime: watch::Receiver<Option<Arc<RuntimePods>>>,
    pub remains: Arc<dyn Remains>,
    pub events: EventsHandle,
    pub clock: WallClock,
}

/// What could not be done in a round, by what it is about.
type Troubles = BTreeMap<String, LeftoverError>;

/// The loop; see [`GcTask::run`].
pub struct GcTask {
    parts: GcParts,
    /// What the last round failed at; tried again in the next one, and told when it changes.
    troubles: Troubles,
    /// Texts of the last `ContainerGCFailed`.
    announced: BTreeSet<String>,
}

impl GcTask {
    pub fn new(parts: GcParts) -> Self {
        Self { parts, troubles: Troubles::new(), announced: BTreeSet::new() }
    }

    /// Runs until an input ends. Nothing happens before all sources have spoken and the runtime
    /// was listed, because until then anything may be somebody's.
    pub async fn run(mut self) {
        let all_synced = self.parts.desired.wait_for(|desired| desired.all_synced).await.is_ok();
        let listed = self.parts.runtime.wait_for(Option::is_some).await.is_ok();
        if !all_synced || !listed {
            return;
        }
        let mut timer = tokio::time::interval(PERIOD);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cared_for = Arc::clone(&self.parts.workers.borrow());
        let (mut is_due, mut early) = (true, None);
        loop {
            // All arms are cancel safe: timers and a watch.
            tokio::select! {
                _ = timer.tick() => {}
                () = sleep_until(early), if early.is_some() => {}
                changed = self.parts.workers.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    is_due = true;
                    let now = Arc::clone(&self.parts.workers.borrow());
                    if cared_for.keys().any(|uid| !now.contains_key(uid)) {
                        early.get_or_insert_with(|| Instant::now() + AFTER_A_POD);
                    }
                    cared_for = now;
                    continue;
                }
            }
            let Ok(changed) = self.parts.desired.has_changed() else { return };
            self.round(is_due || changed || !self.troubles.is_empty()).await;
            (is_due, early) = (false, None);
        }
    }

    /// One round. Leftovers are looked for when pods have come or gone.
    async fn round(&mut self, look_for_leftovers: bool) {
        self.parts.desired.mark_unchanged();
        let mut in_runtime = Troubles::new();
        for excess in self.excess() {
            let done = self.parts.remains.remove_dead(&excess).await;
            note(&mut in_runtime, &format!("containers of {}", excess.pod.1), done);
        }
        let mut troubles = Troubles::new();
        if look_for_leftovers {
            // Processes first, for they may keep mounts busy.
            self.clear_cgroups(&mut troubles).await;
            self.clear_pod_dirs(&mut troubles).await;
            self.clear_logs(&mut in_runtime).await;
        }
        self.announce(&in_runtime);
        troubles.extend(in_runtime);
        for (about, error) in &troubles {
            if self.troubles.get(about) != Some(error) {
                tracing::warn!(%error, "garbage stays, trying again");
            }
        }
        self.troubles = troubles;
    }

    fn excess(&self) -> Vec<Excess> {
        let Known { runtime, workers, .. } = self.known();
        plan::excess(&runtime, &workers, &self.parts.limits, (self.parts.clock)())
    }

    /// What is known at this moment.
    fn known(&self) -> Known {
        Known {
            desired: Arc::clone(&self.parts.desired.borrow()),
            workers: Arc::clone(&self.parts.workers.borrow()),
            runtime: self.parts.runtime.borrow().clone().unwrap_or_default(),
        }
    }

    async fn clear_cgroups(&self, troubles: &mut Troubles) {
        match self.parts.remains.remove_cgroups(self.known().pods()).await {
            Ok((removed, stuck)) => {
                for uid in removed {
                    tracing::info!(%uid, "removed the cgroup of an unknown pod");
                }
                let stuck = stuck.into_iter().map(|error| (error.to_string(), error));
                troubles.extend(stuck);
            }
            Err(error) => note(troubles, "cgroups", Err(error)),
        }
    }

    async fn clear_pod_dirs(&self, troubles: &mut Troubles) {
        let dirs = match self.parts.remains.pod_dirs().await {
            Ok(dirs) => dirs,
            Err(error) => return note(troubles, "pod directories", Err(error)),
        };
        for uid in dirs {
            // Asked for each anew: a static pod can come back under its old UID.
            if self.known().contains(&uid) {
                continue;
            }
            let done = self.parts.remains.remove_pod_dir(&uid).await;
            if done.is_ok() {
                tracing::info!(%uid, "removed the directory of an unknown pod");
            }
            note(troubles, &format!("directory of {uid}"), done);
        }
    }

    async fn clear_logs(&self, troubles: &mut Troubles) {
        let dirs = match self.parts.remains.log_dirs().await {
            Ok(dirs) => dirs,
            Err(error) => return note(troubles, "logs", Err(error)),
        };
        for name in dirs {
            let Some(uid) = plan::pod_of_log_dir(&name) else { continue };
            if !self.known().contains(&uid) {
                let done = self.parts.remains.remove_log_dir(&name).await;
                note(troubles, &format!("logs {name}"), done);
            }
        }
        let links = match self.parts.remains.broken_links().await {
            Ok(links) => links,
            Err(error) => return note(troubles, "links to logs", Err(error)),
        };
        let runtime = self.known().runtime;
        for name in links.iter().filter(|name| plan::is_dead_link(name, &runtime)) {
            let done = self.parts.remains.remove_link(name).await;
            note(troubles, &format!("link {name}"), done);
        }
    }

    /// Tells of what could not be removed, once for each change.
    fn announce(&mut self, troubles: &Troubles) {
        let texts: BTreeSet<String> = troubles.values().map(ToString::to_string).collect();
        if !texts.is_empty() && texts != self.announced {
            let message = texts.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
            self.parts.events.publish(ApiEvent {
                object: node_reference(&self.parts.node_name),
                warning: true,
                reason: node_event::CONTAINER_GC_FAILED,
                message,
                at: (self.parts.clock)(),
            });
        }
        self.announced = texts;
    }
}

fn note(troubles: &mut Troubles, about: &str, done: Result<(), LeftoverError>) {
    if let Err(error) = done {
        troubles.insert(about.to_owned(), error);
    }
}

//! The probes of one pod.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::settings::{Settings, probe_of};
use super::targets::{Target, pod_address, targets};
use super::task::ProbeTask;
use super::{PodProbes, ProbeKind, ProbeResult};
use crate::boundary::{Dialer, Streaming};
use crate::events::EventsHandle;
use crate::metrics::{ProbeMetrics, ProbeSeries, ProbeTarget};
use crate::model::{ContainerId, ContainerState, Pod};
use crate::podplan::Observation;
use crate::podworker::{Lifecycle, WallClock};

#[cfg(test)]
mod tests;

/// What all probes of the node share.
pub struct ProbeContext {
    pub dialer: Arc<dyn Dialer>,
    pub streaming: Arc<dyn Streaming>,
    pub events: EventsHandle,
    pub clock: WallClock,
    /// When this noded began to look after pods.
    pub noded_started: Instant,
    pub metrics: ProbeMetrics,
}

/// Runs the probes of one pod; they end with it.
pub struct PodProber {
    context: Arc<ProbeContext>,
    tasks: JoinSet<()>,
    /// Every probe begun of an instance that is still there, ended or not: none begins twice.
    begun: HashMap<(ContainerId, ProbeKind), AbortHandle>,
    /// By container name; they outlive the instances.
    series: HashMap<(String, ProbeKind), Arc<ProbeSeries>>,
    results: watch::Sender<Arc<PodProbes>>,
    seen: watch::Receiver<Arc<PodProbes>>,
    address: watch::Sender<Option<IpAddr>>,
}

impl PodProber {
    pub fn new(context: Arc<ProbeContext>) -> Self {
        let (results, seen) = watch::channel(Arc::default());
        Self {
            context,
            tasks: JoinSet::new(),
            begun: HashMap::new(),
            series: HashMap::new(),
            results,
            seen,
            address: watch::Sender::new(None),
        }
    }

    /// Sees to it that exactly those probes run which the pod should have as it is observed
    /// (`observation.probes` is not looked at), and returns their results. A new instance has its
    /// initial results in them already.
    pub fn aim(&mut self, observation: &Observation, node_ips: &[IpAddr]) -> Arc<PodProbes> {
        self.reap();
        let pod = observation.pod.as_ref();
        let targets = pod.map(|pod| targets(observation, pod)).unwrap_or_default();
        if let Some(pod) = pod.filter(|_| !targets.is_empty()) {
            let address = pod_address(observation, pod, node_ips);
            self.address.send_if_modified(|known| {
                let is_news = address.is_some() && *known != address;
                if is_news {
                    *known = address;
                }
                is_news
            });
        }
        if matches!(
            observation.lifecycle,
            Lifecycle::Terminated { .. } | Lifecycle::Finished { .. }
        ) {
            self.series.clear();
        }
        self.keep_results(&targets);
        self.end_all_but(&targets);
        for target in &targets {
            for kind in &target.kinds {
                if let Some(pod) = pod {
                    self.begin(pod, target, *kind);
                }
            }
        }
        Arc::clone(&self.seen.borrow_and_update())
    }

    /// Returns when a result has changed since the last `aim`. Cancel safe.
    pub async fn changed(&mut self) {
        // The sender is in self, so there is no error.
        let _ = self.seen.changed().await;
    }

    /// A probe that panics must not leave its container unwatched unnoticed.
    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Keeps the results of the targets, with the initial ones for those that have none.
    fn keep_results(&self, targets: &[Target<'_>]) {
        self.results.send_if_modified(|probes| {
            let is_known = |target: &Target<'_>| {
                let known = probes.0.get(&target.spec.name);
                known.is_some_and(|known| known.id == target.instance.id)
            };
            if probes.0.len() == targets.len() && targets.iter().all(is_known) {
                return false;
            }
            let mut old = std::mem::take(Arc::make_mut(probes));
            let kept = targets.iter().map(|target| {
                let known = old.0.remove(&target.spec.name);
                let known = known.filter(|known| known.id == target.instance.id);
                (target.spec.name.clone(), known.unwrap_or_else(|| target.initial.clone()))
            });
            *probes = Arc::new(PodProbes(kept.collect()));
            true
        });
    }

    fn end_all_but(&mut self, targets: &[Target<'_>]) {
        let wanted: HashSet<(&ContainerId, ProbeKind)> = targets
            .iter()
            .flat_map(|target| target.kinds.iter().map(|kind| (&target.instance.id, *kind)))
            .collect();
        self.begun.retain(|(id, kind), task| {
            let is_wanted = wanted.contains(&(id, *kind));
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
    }

    fn begin(&mut self, pod: &Pod, target: &Target<'_>, kind: ProbeKind) {
        let key = (target.instance.id.clone(), kind);
        let ContainerState::Running { started_at } = target.instance.state else { return };
        let Some(probe) = probe_of(target.spec, kind) else { return };
        if self.begun.contains_key(&key) || self.is_settled(target, kind) {
            return;
        }
        let task = ProbeTask {
            context: Arc::clone(&self.context),
            pod: pod.clone(),
            id: target.instance.id.clone(),
            spec: target.spec.clone(),
            kind,
            settings: Settings::of(probe),
            started_at,
            results: self.results.clone(),
            address: self.address.subscribe(),
            series: self.series(pod, &target.spec.name, kind),
        };
        let handle = self.tasks.spawn(task.run());
        self.begun.insert(key, handle);
    }

    fn series(&mut self, pod: &Pod, container: &str, kind: ProbeKind) -> Arc<ProbeSeries> {
        let make = || {
            Arc::new(self.context.metrics.series(ProbeTarget {
                kind: kind.as_str(),
                container: container.to_owned(),
                pod: pod.name().to_owned(),
                namespace: pod.namespace().to_owned(),
                pod_uid: pod.uid().to_string(),
            }))
        };
        Arc::clone(self.series.entry((container.to_owned(), kind)).or_insert_with(make))
    }

    /// Whether the instance's probe of that kind has done all it is there for.
    fn is_settled(&self, target: &Target<'_>, kind: ProbeKind) -> bool {
        let probes = self.results.borrow();
        let known = probes.of(target.instance).and_then(|known| known.of_kind(kind));
        match kind {
            ProbeKind::Startup => known.is_some_and(|result| result != ProbeResult::Unknown),
            ProbeKind::Liveness => known == Some(ProbeResult::Failure),
            ProbeKind::Readiness => false,
        }
    }
}

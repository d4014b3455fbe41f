//! The task that clears stale entries, beside the syncs.
//!
//! ```text
//! sync, rules are in > reconcile(Reconcile) > task > dump, judge, delete > ReconcileOutcome
//!                       (the newest of a family counts)   (again after a failure)
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::boundary::{Conntrack, ConntrackError, Entry};
use super::plan::{StaleTest, UdpTargets};
use crate::config::IpFamily;
use crate::input::Protocol;
use crate::status::with_causes;

/// Stale entries held at once, about 6 MB. Where there are more, the kernel is asked again.
pub const AT_ONCE: usize = 65_536;
/// Wait after a first failure; doubled for each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What the rules of a family say about UDP, all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// The family.
    pub family: IpFamily,
    /// Its UDP service ports.
    pub targets: Vec<UdpTargets>,
    /// Addresses of this machine on which node ports answer.
    pub node_port_addresses: Vec<IpAddr>,
}

/// How one look at the entries of a family ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileOutcome {
    /// The family.
    pub family: IpFamily,
    /// Entries deleted.
    pub deleted: usize,
    /// How long it took.
    pub duration: Duration,
    /// Nothing on success; else the error with its causes.
    pub failure: Option<Arc<str>>,
}

type Wanted = BTreeMap<IpFamily, Arc<Reconcile>>;

/// Handle of the task; the task ends with it.
#[derive(Debug)]
pub struct ConntrackReconciler {
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<()>,
}

impl ConntrackReconciler {
    /// Starts the task, which tells `observe` how each look ended. Has to be called within a
    /// tokio runtime.
    pub fn spawn(
        conntrack: Arc<dyn Conntrack>,
        observe: impl Fn(ReconcileOutcome) + Send + Sync + 'static,
    ) -> Self {
        let (wanted, received) = watch::channel(Wanted::new());
        let worker = Worker {
            conntrack,
            wanted: received,
            observe: Box::new(observe),
            families: BTreeMap::new(),
        };
        Self { wanted, task: tokio::spawn(worker.run()) }
    }

    /// Has the entries of a family compared with what its rules say now. To be called after the
    /// rules were written; before, a packet could bring a stale entry back. Never waits, and
    /// replaces what was told before.
    pub fn reconcile(&self, wanted: Reconcile) {
        self.wanted.send_modify(|all| {
            all.insert(wanted.family, Arc::new(wanted));
        });
    }
}

impl Drop for ConntrackReconciler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Worker {
    conntrack: Arc<dyn Conntrack>,
    wanted: watch::Receiver<Wanted>,
    observe: Box<dyn Fn(ReconcileOutcome) + Send + Sync>,
    families: BTreeMap<IpFamily, Progress>,
}

/// How far a family is.
#[derive(Default)]
struct Progress {
    done: Option<Arc<Reconcile>>,
    failure: Option<Arc<str>>,
    failures: u32,
    retry: Option<Instant>,
}

impl Worker {
    async fn run(mut self) {
        loop {
            let wake = self.families.values().filter_map(|family| family.retry).min();
            // Both are cancel safe: what is wanted stays in the channel, a timer holds nothing.
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep_until(wake) => {}
            }
            let wanted = self.wanted.borrow_and_update().clone();
            for (family, wanted) in wanted {
                if self.families.entry(family).or_default().is_due(&wanted, Instant::now()) {
                    self.reconcile(wanted).await;
                }
            }
        }
    }

    async fn reconcile(&mut self, wanted: Arc<Reconcile>) {
        let start = Instant::now();
        let mut deleted = 0;
        let failure = match self.clear(&wanted, &mut deleted).await {
            Ok(()) => None,
            Err(error) => Some(Arc::from(with_causes(&error))),
        };
        let family = wanted.family;
        let outcome = ReconcileOutcome { family, deleted, duration: start.elapsed(), failure };
        self.families.entry(family).or_default().note(wanted, &outcome);
        (self.observe)(outcome);
    }

    /// Deletes what is stale, in rounds of [`AT_ONCE`], and counts it.
    async fn clear(
        &self,
        wanted: &Arc<Reconcile>,
        deleted: &mut usize,
    ) -> Result<(), ConntrackError> {
        let test = stale_test(wanted);
        if test.is_empty() {
            return Ok(());
        }
        loop {
            let mut stale: Vec<Entry> = Vec::new();
            let mut keep = |entry: Entry| {
                if stale.len() < AT_ONCE && test.is_stale(&entry.flow) {
                    stale.push(entry);
                }
            };
            self.conntrack.visit(wanted.family, Protocol::Udp, &mut keep).await?;
            let round = stale.len();
            self.drop_outdated(wanted, &mut stale);
            let gone = self.conntrack.delete(&stale).await?;
            *deleted += gone;
            if round < AT_ONCE || gone == 0 {
                return Ok(());
            }
        }
    }

    /// Rules may have changed during the dump. A flow that one of today's endpoints answers must
    /// not go.
    fn drop_outdated(&self, wanted: &Arc<Reconcile>, stale: &mut Vec<Entry>) {
        let newest = self.wanted.borrow().get(&wanted.family).cloned();
        if let Some(newest) = newest.filter(|newest| !Arc::ptr_eq(newest, wanted)) {
            let test = stale_test(&newest);
            stale.retain(|entry| test.is_stale(&entry.flow));
        }
    }
}

impl Progress {
    /// Whether to look again: when something else is wanted, or when it failed a while ago.
    fn is_due(&self, wanted: &Arc<Reconcile>, now: Instant) -> bool {
        let done = self.done.as_ref().is_some_and(|done| Arc::ptr_eq(done, wanted));
        !done || self.retry.is_some_and(|retry| retry <= now)
    }

    /// Logs a failure or a recovery once, and plans the next try.
    fn note(&mut self, wanted: Arc<Reconcile>, outcome: &ReconcileOutcome) {
        let family = outcome.family;
        self.done = Some(wanted);
        match &outcome.failure {
            None => {
                if self.failures > 0 {
                    info!(%family, "stale UDP entries can be cleared again");
                }
                debug!(%family, deleted = outcome.deleted, took = ?outcome.duration, "cleared stale UDP entries");
                (self.failures, self.retry) = (0, None);
            }
            Some(failure) => {
                if self.failure.as_ref() != Some(failure) {
                    warn!(%family, error = %failure, "cannot clear stale UDP entries, trying again");
                }
                let delay = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LAST_RETRY);
                self.failures = self.failures.saturating_add(1);
                self.retry = Some(Instant::now() + delay);
            }
        }
        self.failure.clone_from(&outcome.failure);
    }
}

fn stale_test(wanted: &Reconcile) -> StaleTest<'_> {
    StaleTest::new(&wanted.targets, &wanted.node_port_addresses)
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

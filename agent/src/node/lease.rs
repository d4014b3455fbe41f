//! Keeps the node's Lease fresh: the heartbeat that the node controller watches.
//!
//! Source: kubelet v1.36, component-helpers `apimachinery/lease/controller.go`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use tokio::sync::watch;

use super::jitter;
use super::view::NodeView;
use crate::boundary::{ApiError, Machine, NodesApi};
use crate::liveness::Pulse;

/// The namespace of all node leases.
const NAMESPACE: &str = "kube-node-lease";

/// A lease is renewed four times in its duration, lengthened by up to 4 % (kubelet v1.36).
const RENEWALS_PER_DURATION: u32 = 4;
const JITTER: f64 = 0.04;

/// Tries of one renewal before the lease is read anew (kubelet v1.36).
const TRIES: u32 = 5;

/// Waits between tries to read or create it: doubling (kubelet v1.36).
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(7);

/// Renews the Lease on its own, so that nothing else can hold it up.
pub struct LeaseTask {
    api: Arc<dyn NodesApi>,
    machine: Arc<dyn Machine>,
    view: watch::Receiver<NodeView>,
    node_name: String,
    duration: Duration,
    /// As the server last had it.
    latest: Option<Lease>,
    failing: bool,
    pulse: Pulse,
}

impl LeaseTask {
    /// `duration` is `nodeLeaseDurationSeconds`; `view` tells the Node's UID, the lease's owner.
    pub fn new(
        api: Arc<dyn NodesApi>,
        machine: Arc<dyn Machine>,
        view: watch::Receiver<NodeView>,
        duration: Duration,
    ) -> Self {
        let node_name = view.borrow().name.clone();
        Self {
            api,
            machine,
            view,
            node_name,
            duration,
            latest: None,
            failing: false,
            pulse: Pulse::default(),
        }
    }

    /// Gives a sign of life with every try to renew, whether it works or not.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = pulse;
        self
    }

    /// Renews for ever.
    pub async fn run(mut self) {
        // A lease needs an owner, else it would outlive its Node.
        if self.view.wait_for(|view| node_uid(view).is_some()).await.is_err() {
            return;
        }
        let interval = self.duration / RENEWALS_PER_DURATION;
        loop {
            self.renew().await;
            tokio::time::sleep(jitter::lengthened(interval, JITTER)).await;
        }
    }

    async fn renew(&mut self) {
        if let Some(latest) = self.latest.take() {
            match self.replace(latest).await {
                Ok(()) => return self.report_success(),
                Err(error) => self.report_failure(&error),
            }
        }
        self.ensure().await;
    }

    /// Replaces the known lease, a few times when the server is short of breath.
    async fn replace(&mut self, latest: Lease) -> Result<(), ApiError> {
        let mut last_error = None;
        for _ in 0..TRIES {
            self.pulse.beat();
            match self.api.replace_lease(&self.renewed(latest.clone())).await {
                Ok(stored) => {
                    self.latest = Some(stored);
                    return Ok(());
                }
                // Another resource version is there: it must be read first.
                Err(error @ (ApiError::Conflict(_) | ApiError::NotFound(_))) => return Err(error),
                Err(error) => last_error = Some(error),
            }
        }
        let never_tried = || ApiError::Unavailable("lease was not sent".to_owned());
        Err(last_error.unwrap_or_else(never_tried))
    }

    /// Reads or creates the lease until that worked. One that is read is renewed at once.
    async fn ensure(&mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            self.pulse.beat();
            match self.read_or_create().await {
                Ok(()) => return self.report_success(),
                Err(error) => self.report_failure(&error),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn read_or_create(&mut self) -> Result<(), ApiError> {
        match self.api.get_lease().await {
            Ok(lease) => self.replace(lease).await,
            Err(ApiError::NotFound(_)) => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.node_name.clone()),
                        namespace: Some(NAMESPACE.to_owned()),
                        ..ObjectMeta::default()
                    },
                    ..Lease::default()
                };
                self.latest = Some(self.api.create_lease(&self.renewed(lease)).await?);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn renewed(&self, lease: Lease) -> Lease {
        let uid = node_uid(&self.view.borrow());
        renewed(lease, &self.node_name, uid.as_deref(), (self.duration, self.machine.now()))
    }

    fn report_success(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("node lease is renewed again");
        }
    }

    fn report_failure(&mut self, error: &ApiError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "cannot renew node lease");
        }
    }
}

fn node_uid(view: &NodeView) -> Option<String> {
    view.node.as_ref().and_then(|node| node.metadata.uid.clone())
}

/// The lease held by the node since `now` for `duration`. What others put into it stays; an owner
/// is added where there is none.
fn renewed(
    mut lease: Lease,
    node_name: &str,
    node_uid: Option<&str>,
    (duration, now): (Duration, Timestamp),
) -> Lease {
    let spec = lease.spec.take().unwrap_or_default();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(node_name.to_owned()),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        renew_time: Some(MicroTime(now)),
        ..spec
    });
    let owners = lease.metadata.owner_references.get_or_insert_default();
    if let (true, Some(uid)) = (owners.is_empty(), node_uid) {
        owners.push(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node_name.to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        });
    }
    lease
}

#[cfg(test)]
mod tests;

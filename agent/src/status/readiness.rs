//! Which addresses of this node's pods take no traffic, known before the API shows it.
//!
//! The status of a pod takes a moment to the API, and from there to the slices of its services.
//! The proxy of this node need not wait for that: an endpoint that is known to be down is left out
//! at once, and the slices alone decide whether it comes back.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::{Pod, PodUid};

#[cfg(test)]
mod tests;

/// How long the address of a pod that has gone counts as down, unless another pod has it. By then
/// the slices have long let go of it.
const AFTERLIFE: Duration = Duration::from_secs(60);

/// Addresses that take no traffic.
pub type DownAddresses = Arc<BTreeSet<IpAddr>>;

/// What pod workers tell. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    pods: Arc<Mutex<HashMap<PodUid, Entry>>>,
    down: watch::Sender<DownAddresses>,
}

#[derive(Debug, PartialEq)]
struct Entry {
    addresses: Vec<IpAddr>,
    ready: bool,
    /// Since when the pod is gone.
    gone: Option<Instant>,
}

impl Readiness {
    /// The addresses that take no traffic, and their changes.
    pub fn down(&self) -> watch::Receiver<DownAddresses> {
        self.down.subscribe()
    }

    /// Takes in what a pod is about to show. A pod on the host's network says nothing: others share
    /// its address.
    pub fn tell(&self, pod: &Pod, status: &api::PodStatus) {
        if pod.spec().host_network == Some(true) {
            return;
        }
        let texts = status.pod_ips.iter().flatten().map(|address| &address.ip);
        let addresses: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).collect();
        if addresses.is_empty() {
            return;
        }
        let ready = status.conditions.iter().flatten();
        let ready = ready.into_iter().any(|it| it.type_ == "Ready" && it.status == "True");
        let entry = Entry { addresses, ready, gone: None };
        self.change(|pods| {
            let same = pods.get(pod.uid()) == Some(&entry);
            pods.insert(pod.uid().clone(), entry);
            !same
        });
    }

    /// Nothing of the pod is left on this node.
    pub fn forget(&self, uid: &PodUid) {
        self.change(|pods| {
            let Some(entry) = pods.get_mut(uid) else { return false };
            entry.ready = false;
            entry.gone = Some(Instant::now());
            true
        });
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<PodUid, Entry>) -> bool) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut pods) {
            return;
        }
        let now = Instant::now();
        pods.retain(|_, entry| entry.gone.is_none_or(|gone| now < gone + AFTERLIFE));
        let of = |ready: bool| -> BTreeSet<IpAddr> {
            let entries = pods.values().filter(|entry| entry.ready == ready);
            entries.flat_map(|entry| entry.addresses.iter().copied()).collect()
        };
        // An address goes from a pod that has ended to the next one.
        let down: BTreeSet<IpAddr> = of(false).difference(&of(true)).copied().collect();
        self.down.send_if_modified(|told| {
            let new = **told != down;
            if new {
                *told = Arc::new(down);
            }
            new
        });
    }
}

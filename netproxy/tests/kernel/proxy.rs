//! The proxy task on the real kernel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use netproxy::config::{IpFamily, LocalTraffic, ProxyConfig};
use netproxy::iptables::{Iptables, IptablesCommand, IptablesError, Version};
use netproxy::rules::ruleset::Table;
use netproxy::testing::build::LOCAL_NODE;
use netproxy::testing::node;
use netproxy::{Backends, ObjectKind, ProxyStatus, ServiceChange};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest wait for a sync.
const PATIENCE: Duration = Duration::from_secs(30);

/// The real iptables, with a count of the writes.
struct Counting {
    inner: IptablesCommand,
    writes: Arc<AtomicUsize>,
}

#[async_trait]
impl Iptables for Counting {
    async fn restore(&self, input: String) -> Result<(), IptablesError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.inner.restore(input).await
    }

    async fn save(&self) -> Result<String, IptablesError> {
        self.inner.save().await
    }

    async fn ensure_jump(
        &self,
        table: Table,
        chain: &str,
        rule: &str,
    ) -> Result<(), IptablesError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.inner.ensure_jump(table, chain, rule).await
    }

    async fn chain_exists(&self, table: Table, chain: &str) -> Result<bool, IptablesError> {
        self.inner.chain_exists(table, chain).await
    }

    async fn version(&self) -> Result<Version, IptablesError> {
        self.inner.version().await
    }
}

/// A proxy task and its channels.
pub struct RunningProxy {
    changes: mpsc::Sender<ServiceChange>,
    status: watch::Receiver<ProxyStatus>,
    writes: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), netproxy::ProxyError>>,
}

impl RunningProxy {
    /// Starts a proxy for both families; it knows nothing yet.
    pub async fn start(cluster_cidrs: &[&str]) -> Self {
        let mut config = ProxyConfig::new(LOCAL_NODE);
        let cidrs = cluster_cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        config.local_traffic = LocalTraffic::ClusterCidrs(cidrs);
        config.min_sync_period = Duration::ZERO;
        config.sync_period = Duration::from_secs(1);
        let mut backends = Backends::detect().await.unwrap();
        assert_eq!(backends.iptables.len(), 2, "iptables does not work for both families");
        let writes = Arc::new(AtomicUsize::new(0));
        backends.iptables = [IpFamily::V4, IpFamily::V6]
            .map(|family| {
                let inner = IptablesCommand::new(family);
                let counting: Arc<dyn Iptables> =
                    Arc::new(Counting { inner, writes: writes.clone() });
                (family, counting)
            })
            .into_iter()
            .collect::<BTreeMap<_, _>>();
        let (changes, received) = mpsc::channel(64);
        let (publish, status) = watch::channel(ProxyStatus::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(netproxy::run(config, received, backends, publish, stop.clone()));
        Self { changes, status, writes, stop, task }
    }

    /// Tells a complete list of all kinds and waits until it is in place.
    pub async fn relist(&mut self, objects: Vec<ServiceChange>) {
        let mut list = Vec::new();
        for kind in [ObjectKind::Node, ObjectKind::Services, ObjectKind::EndpointSlices] {
            list.push(ServiceChange::Restart(kind));
        }
        list.push(ServiceChange::NodeApplied(Box::new(node(&["10.0.1.1", "fd00:10::1:1"]))));
        list.extend(objects);
        for kind in [ObjectKind::Node, ObjectKind::Services, ObjectKind::EndpointSlices] {
            list.push(ServiceChange::Synced(kind));
        }
        for change in list {
            self.changes.send(change).await.unwrap();
        }
        // Equal lists cause no sync, so what is waited for is that the task took all of it in.
        while self.changes.capacity() < self.changes.max_capacity() {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        self.settled(|status| status.synced_once()).await;
    }

    /// Tells one change and waits until it is in place.
    pub async fn change(&mut self, change: ServiceChange) {
        self.changes.send(change).await.unwrap();
        self.next_sync(IpFamily::V4).await;
    }

    /// Waits until a sync of the family that ends after this call succeeded.
    pub async fn next_sync(&mut self, family: IpFamily) {
        let now = Instant::now();
        self.settled(|status| status.families[&family].last_success.is_some_and(|last| last > now))
            .await;
    }

    async fn settled(&mut self, wanted: impl Fn(&ProxyStatus) -> bool) {
        let waited = self.status.wait_for(|status| {
            let failed = status
                .families
                .values()
                .find_map(|family| family.last_sync.as_ref().and_then(|sync| sync.failure.clone()));
            assert_eq!(failed, None);
            wanted(status) && status.families.values().all(|f| f.queued_since.is_none())
        });
        tokio::time::timeout(PATIENCE, waited).await.expect("no sync in time").unwrap();
    }

    /// Restores and insertions so far.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// Stops the proxy; its rules stay.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

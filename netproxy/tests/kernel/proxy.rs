//! The proxy task on the real kernel.

use std::sync::Arc;
use std::time::Duration;

use netproxy::config::{IpFamily, LocalTraffic, NodePortAddresses, ProxyConfig, ProxyMode};
use netproxy::interference::{Interest, OwnWriters, watch_legacy, watch_nftables};
use netproxy::iptables::flavour::{self, Choice};
use netproxy::iptables::{self, Flavour, IptablesBackend};
use netproxy::nftables::{self, NftBackend, NftCommand};
use netproxy::testing::build::LOCAL_NODE;
use netproxy::testing::node;
use netproxy::{Backend, Backends, NodeFacts, ObjectKind, ProxyStatus, ServiceChange};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::mode::Mode;
use super::recorder::{NftRecorder, Recorder, Steps};
use super::topology::{FAMILIES, NODE, POD_NETWORKS};

/// Longest wait for a sync.
const PATIENCE: Duration = Duration::from_secs(30);
const KINDS: [ObjectKind; 3] = [ObjectKind::Node, ObjectKind::Services, ObjectKind::EndpointSlices];

/// A proxy task and its channels.
pub struct RunningProxy {
    changes: mpsc::Sender<ServiceChange>,
    status: watch::Receiver<ProxyStatus>,
    steps: Arc<Steps>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), netproxy::ProxyError>>,
}

/// Knows pods by their addresses, syncs at once, looks for lost rules each second, and has node
/// ports on all addresses, which is the default of iptables only.
pub fn config(mode: Mode) -> ProxyConfig {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    if mode == Mode::Nftables {
        config.mode = ProxyMode::Nftables;
        config.nftables.node_port_addresses = NodePortAddresses::All;
        config = config.in_nftables_mode();
    }
    let networks = POD_NETWORKS.map(|network| network.parse().unwrap());
    config.local_traffic = LocalTraffic::ClusterCidrs(networks.into());
    config.min_sync_period = Duration::ZERO;
    config.sync_period = Duration::from_secs(1);
    config
}

/// The node as the API tells of it.
pub fn this_node() -> NodeFacts {
    let addresses = FAMILIES.map(|family| NODE.ip(family).to_string());
    node(&addresses.each_ref().map(String::as_str))
}

/// Removes everything a proxy wrote; whether there was anything.
pub async fn clean_up(mode: Mode) -> bool {
    let mut found = false;
    for family in FAMILIES {
        found |= match mode {
            Mode::Iptables | Mode::LegacyIptables => {
                let command = flavour_of(mode).await.command(family);
                iptables::cleanup::cleanup(&command, family).await.unwrap()
            }
            Mode::Nftables => nftables::cleanup::cleanup(&nft_of(family)).await.unwrap(),
        }
    }
    found
}

/// The binaries that the proxy chooses; they have to be those of the mode.
async fn flavour_of(mode: Mode) -> Choice {
    let choice = flavour::detect().await.unwrap();
    let legacy = choice.flavour == Flavour::Legacy;
    assert!(legacy || mode != Mode::LegacyIptables, "{choice:?} in {mode:?}");
    choice
}

fn nft_of(family: IpFamily) -> NftCommand {
    NftCommand::new(family, OwnWriters::of_this_process())
}

type OfFamily = (IpFamily, Box<dyn Backend>);

fn over_iptables(family: IpFamily, choice: &Choice, steps: &Arc<Steps>) -> OfFamily {
    let recorder = Recorder::new(choice.command(family), steps.clone());
    (family, Box::new(IptablesBackend::new(Arc::new(recorder), family)))
}

fn over_nftables(family: IpFamily, steps: &Arc<Steps>) -> OfFamily {
    let recorder = NftRecorder::new(nft_of(family), steps.clone());
    (family, Box::new(NftBackend::new(Arc::new(recorder), family)))
}

impl RunningProxy {
    /// Starts a proxy for both families; it knows nothing yet.
    pub async fn start(mode: Mode) -> Self {
        Self::configured(mode, config(mode)).await
    }

    /// The same with another configuration.
    pub async fn configured(mode: Mode, config: ProxyConfig) -> Self {
        Self::watched(mode, config, Steps::new()).await
    }

    /// The same with steps that may fail.
    pub async fn watched(mode: Mode, config: ProxyConfig, steps: Arc<Steps>) -> Self {
        let families = match mode {
            Mode::Iptables | Mode::LegacyIptables => {
                let choice = flavour_of(mode).await;
                FAMILIES.map(|family| over_iptables(family, &choice, &steps))
            }
            Mode::Nftables => FAMILIES.map(|family| over_nftables(family, &steps)),
        };
        let watch = match mode {
            Mode::Iptables => watch_nftables(Interest::Iptables),
            Mode::LegacyIptables => watch_legacy(),
            Mode::Nftables => watch_nftables(Interest::Nftables),
        };
        assert!(watch.is_some(), "changes of others are not told");
        let backends = Backends { watch, ..Backends::over_kernel(families.into()) };
        Self::over(backends, config, steps)
    }

    /// Starts the proxy as a daemon does: it finds out what there is, and removes what the other
    /// mode left. Its steps are not counted.
    pub async fn deployed(mode: Mode) -> Self {
        let config = config(mode);
        let detected = netproxy::mode::detect(config.mode).await.unwrap();
        Self::over(detected.backends, config, Steps::new())
    }

    fn over(backends: Backends, config: ProxyConfig, steps: Arc<Steps>) -> Self {
        let (changes, received) = mpsc::channel(64);
        let (publish, status) = watch::channel(ProxyStatus::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(netproxy::run(config, received, backends, publish, stop.clone()));
        Self { changes, status, steps, stop, task }
    }

    /// Tells a complete list of all kinds and waits until it is in place.
    pub async fn relist(&mut self, objects: Vec<ServiceChange>) {
        self.relist_on(this_node(), objects).await;
    }

    /// The same with other facts about the node.
    pub async fn relist_on(&mut self, node: NodeFacts, objects: Vec<ServiceChange>) {
        self.tell_list(node, objects).await;
        self.settled().await;
    }

    /// Tells a complete list of all kinds.
    pub async fn tell_list(&mut self, node: NodeFacts, objects: Vec<ServiceChange>) {
        let mut list: Vec<_> = KINDS.map(ServiceChange::Restart).into();
        list.push(ServiceChange::NodeApplied(Box::new(node)));
        list.extend(objects);
        list.extend(KINDS.map(ServiceChange::Synced));
        self.tell(list).await;
    }

    /// Tells changes and waits until they are in place.
    pub async fn change(&mut self, changes: impl IntoIterator<Item = ServiceChange>) {
        self.tell(changes).await;
        self.settled().await;
    }

    /// Tells changes and waits until the task knows them.
    pub async fn tell(&mut self, changes: impl IntoIterator<Item = ServiceChange>) {
        for change in changes {
            self.changes.send(change).await.unwrap();
        }
        // Equal objects cause no sync, so what is waited for is that the task took all of it in.
        while self.changes.capacity() < self.changes.max_capacity() {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
    }

    /// Waits until nothing is left to sync. Fails when a sync does.
    pub async fn settled(&mut self) {
        self.until(|status| {
            let failed = status.families.values().find_map(failure);
            assert_eq!(failed, None);
            status.synced_once() && status.families.values().all(|f| f.queued_since.is_none())
        })
        .await;
    }

    /// Waits until the last sync of a family failed.
    pub async fn fails(&mut self) {
        self.until(|status| status.families.values().any(|family| failure(family).is_some())).await;
    }

    /// Waits until each family is in place, whatever failed before.
    pub async fn recovers(&mut self) {
        self.until(|status| {
            status.synced_once()
                && status
                    .families
                    .values()
                    .all(|f| failure(f).is_none() && f.queued_since.is_none())
        })
        .await;
    }

    async fn until(&mut self, wanted: impl FnMut(&ProxyStatus) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, self.status.wait_for(wanted)).await;
        let alive = waited.map(|status| status.is_ok());
        assert_eq!(alive, Ok(true), "no sync in time: {:?}", self.status.borrow());
    }

    /// What was written so far.
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// Stops the proxy; its rules stay.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn failure(family: &netproxy::FamilyStatus) -> Option<Arc<str>> {
    family.last_sync.as_ref().and_then(|sync| sync.failure.clone())
}

/// Asks again and again until it is so; the limit is for a proxy that does not work.
pub async fn eventually(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(limit, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within {limit:?}: {what}");
}

//! One round of the Node status: look at the machine, build the status, post what changed.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use tokio::sync::watch;
use tokio::time::Instant;

use super::addresses::{AddressError, Candidates, choose_ips};
use super::allocatable::{allocatable, capacity};
use super::conditions::{self, Pressure, PressureHistory};
use super::diff::status_patch;
use super::jitter;
use super::register::Registration;
use super::runtime_state::RuntimeReport;
use super::status::{StatusInputs, node_status, status_ips};
use super::task::NodeParts;
use super::thresholds::Signal;
use super::view::NodeView;
use crate::boundary::{ApiError, ApiEvent, MachineCapacity, MachineIdentity, NodesApi};
use crate::events::node_reference;
use crate::model::resources::Resources;
use crate::reason::node_event;

/// Tries to post in one round (kubelet v1.36).
const TRIES: u32 = 5;

/// Waits between tries to register: doubling (kubelet v1.36).
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(7);

/// How long a name look-up may hold up a status. The answer before it then counts on.
const RESOLVE_WITHIN: Duration = Duration::from_secs(1);

/// What the machine showed in this round.
#[derive(Clone, Debug, Default)]
struct Sighting {
    identity: MachineIdentity,
    machine: MachineCapacity,
    capacity: Resources,
    allocatable: Resources,
    ips: Vec<IpAddr>,
    pressures: [Pressure; 3],
}

/// Does the rounds, one after the other; only writer of the Node.
pub(super) struct StatusRound {
    parts: Arc<NodeParts>,
    view: Arc<watch::Sender<NodeView>>,
    report: watch::Receiver<RuntimeReport>,
    pressures: PressureHistory,
    resolved: Vec<IpAddr>,
    /// Why no IP could be chosen, as it was logged.
    no_ip: Option<AddressError>,
    /// When the last post was, and how long after it the next one is due without a change.
    posted: Option<Instant>,
    report_after: Duration,
    unschedulable: bool,
    /// The last failure as it was logged, so that it is logged once.
    failure: Option<String>,
}

impl StatusRound {
    pub fn new(
        parts: Arc<NodeParts>,
        view: Arc<watch::Sender<NodeView>>,
        report: watch::Receiver<RuntimeReport>,
    ) -> Self {
        let report_after = parts.config.cadence.node_status_report;
        Self {
            parts,
            view,
            report,
            pressures: PressureHistory::default(),
            resolved: Vec::new(),
            no_ip: None,
            posted: None,
            report_after,
            unschedulable: false,
            failure: None,
        }
    }

    /// Creates the Node or takes over the one that is there; tries until it worked.
    pub async fn register(&mut self, api: &dyn NodesApi) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.try_register(api).await {
                Ok(node) => {
                    self.succeeded();
                    self.publish_node(node);
                    return;
                }
                Err(error) => self.failed("cannot register the node", &error),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn try_register(&mut self, api: &dyn NodesApi) -> Result<api::Node, ApiError> {
        let sighting = self.look().await;
        if !self.parts.config.node.register {
            return api.get_node().await;
        }
        let status = self.build(&api::NodeStatus::default(), &sighting);
        let registration = self.registration(&sighting.identity);
        match api.create_node(&registration.new_node(status.clone())).await {
            Ok(node) => {
                tracing::info!(node = %self.parts.config.node_name, "node is registered");
                self.posted = Some(Instant::now());
                self.publish_events(&api::NodeStatus::default(), &status);
                Ok(node)
            }
            Err(ApiError::AlreadyExists(_)) => {
                let node = api.get_node().await?;
                match self.registration(&sighting.identity).adoption_patch(&node) {
                    Some(patch) => api.patch_node(patch).await,
                    None => Ok(node),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Looks at the machine and tells the view; without an API that is all there is to do.
    pub async fn observe_only(&mut self) {
        self.look().await;
    }

    /// Posts what changed since the server last had it, or everything when a report is due. A
    /// failure ends the round; the next one comes with the timer.
    pub async fn post(&mut self, api: &dyn NodesApi) {
        let sighting = self.look().await;
        // The watch usually knows the Node; a due report and a second try ask the server.
        let mut known = self.view.borrow().node.clone().filter(|_| !self.is_report_due());
        let mut outcome = Ok(());
        for _ in 0..TRIES {
            outcome = self.try_post(api, known.take(), &sighting).await;
            if outcome.is_ok() {
                return self.succeeded();
            }
        }
        if let Err(error) = outcome {
            self.failed("cannot post node status", &error);
        }
    }

    async fn try_post(
        &mut self,
        api: &dyn NodesApi,
        known: Option<Arc<api::Node>>,
        sighting: &Sighting,
    ) -> Result<(), ApiError> {
        let mut node = match known {
            Some(node) => node,
            None => Arc::new(api.get_node().await?),
        };
        if let Some(patch) = self.registration(&sighting.identity).adoption_patch(&node)
            && self.parts.config.node.register
        {
            node = Arc::new(api.patch_node(patch).await?);
        }
        self.note_schedulable(&node);
        let before = node.status.clone().unwrap_or_default();
        let after = self.build(&before, sighting);
        let changed = status_patch(&before, &after, false).is_some();
        if !changed && !self.is_report_due() {
            return Ok(());
        }
        // Heartbeats travel with every post.
        if let Some(patch) = status_patch(&before, &after, true) {
            let stored = api.patch_node_status(patch).await?;
            self.publish_node(stored);
        }
        self.posted = Some(Instant::now());
        let report = self.parts.config.cadence.node_status_report;
        self.report_after = if changed { jitter::half_around(report) } else { report };
        self.publish_events(&before, &after);
        Ok(())
    }

    fn is_report_due(&self) -> bool {
        self.posted.is_none_or(|posted| posted.elapsed() >= self.report_after)
    }

    /// Reads the machine. What cannot be read is missing from the sighting, and the status says so.
    async fn look(&mut self) -> Sighting {
        let config = &self.parts.config;
        let identity = noted("identity", self.parts.machine.identity());
        let machine = self.parts.machine.capacity();
        let mut sighting =
            Sighting { identity: identity.unwrap_or_default(), ..Sighting::default() };
        if let Some(machine) = noted("capacity", machine) {
            sighting.capacity = capacity(&machine, &config.node);
            sighting.allocatable = allocatable(&sighting.capacity, &self.parts.reservations);
            sighting.machine = machine;
        }
        // A machine that cannot be read is not known to be under pressure.
        let under = self.parts.under_pressure(&sighting.machine);
        sighting.pressures = self.pressures.observe(under, self.parts.machine.now());
        let pressures = conditions::pressure_types(sighting.pressures);
        self.view.send_if_modified(|view| {
            let same = view.capacity == sighting.capacity
                && view.allocatable == sighting.allocatable
                && view.pressures == pressures;
            if !same {
                view.pressures = pressures;
                view.capacity.clone_from(&sighting.capacity);
                view.allocatable.clone_from(&sighting.allocatable);
            }
            !same
        });
        sighting.ips = self.find_ips().await;
        self.view.send_if_modified(|view| {
            let same = view.ips == sighting.ips || sighting.ips.is_empty();
            if !same {
                view.ips.clone_from(&sighting.ips);
            }
            !same
        });
        sighting
    }

    /// The node's IPs; empty, with a log line, when none can be chosen.
    async fn find_ips(&mut self) -> Vec<IpAddr> {
        let config = Arc::clone(&self.parts.config);
        let host = noted("addresses", self.parts.machine.addresses().await).unwrap_or_default();
        if config.node_ips.iter().all(IpAddr::is_unspecified) {
            let question = self.parts.machine.resolve(&config.node_name);
            match tokio::time::timeout(RESOLVE_WITHIN, question).await {
                Ok(Ok(resolved)) => self.resolved = resolved,
                // Most nodes are in no DNS; then the default route decides.
                Ok(Err(_)) => self.resolved.clear(),
                Err(_) => {}
            }
        }
        let candidates = Candidates {
            node_name: &config.node_name,
            configured: &config.node_ips,
            host: &host,
            resolved: &self.resolved,
        };
        match choose_ips(&candidates) {
            Ok(ips) => {
                self.no_ip = None;
                ips
            }
            Err(error) => {
                if self.no_ip.as_ref() != Some(&error) {
                    tracing::warn!(%error, "cannot choose the node's IP; a published one stays");
                    self.no_ip = Some(error);
                }
                Vec::new()
            }
        }
    }

    fn build(&mut self, before: &api::NodeStatus, sighting: &Sighting) -> api::NodeStatus {
        let config = &self.parts.config;
        let now = self.parts.machine.now();
        let report = self.report.borrow().clone();
        let pleg = self.parts.pleg_health.borrow().clone();
        let mut problems = report.problems(pleg.as_deref());
        if sighting.ips.is_empty() && before.addresses.as_ref().is_none_or(Vec::is_empty) {
            problems.push("no usable node IP was found on this machine".to_owned());
        }
        let inputs = StatusInputs {
            node_name: &config.node_name,
            now,
            identity: &sighting.identity,
            swap_bytes: sighting.machine.swap_bytes,
            capacity: &sighting.capacity,
            allocatable: &sighting.allocatable,
            ips: &sighting.ips,
            keep_addresses: config.node.external_cloud_provider,
            runtime: report.version.as_ref(),
            features: report.features.as_ref(),
            images: report.images.as_deref().map(Vec::as_slice),
            max_images: config.node.status_max_images,
            kubelet_version: &config.kubelet_version,
            port: config.port,
            pressures: sighting.pressures,
            problems,
        };
        node_status(before, &inputs)
    }

    fn registration<'a>(&'a self, identity: &'a MachineIdentity) -> Registration<'a> {
        let config = &self.parts.config;
        Registration {
            node_name: &config.node_name,
            architecture: &identity.architecture,
            config: &config.node,
            node_ips: &config.node_ips,
        }
    }

    fn publish_node(&self, node: api::Node) {
        let external = self.parts.config.node.external_cloud_provider;
        self.view.send_modify(|view| {
            view.set_node(Arc::new(node));
            // A cloud provider's word on the addresses counts more than ours.
            let status = view.node.as_ref().and_then(|node| node.status.as_ref());
            let published = status.map(status_ips).filter(|ips| external && !ips.is_empty());
            if let Some(ips) = published {
                view.ips = ips;
            }
        });
    }

    fn publish_events(&self, before: &api::NodeStatus, after: &api::NodeStatus) {
        let name = &self.parts.config.node_name;
        let boot_id = |status: &api::NodeStatus| {
            status.node_info.as_ref().map(|info| info.boot_id.clone()).filter(|id| !id.is_empty())
        };
        if let (Some(old), Some(new)) = (boot_id(before), boot_id(after))
            && old != new
        {
            let message = format!("Node {name} has been rebooted, boot id: {new}");
            self.publish_event(true, node_event::REBOOTED, message);
        }
        let old = before.conditions.as_deref().unwrap_or_default();
        let new = after.conditions.as_deref().unwrap_or_default();
        for reason in conditions::transition_events(old, new) {
            self.publish_event(false, reason, format!("Node {name} status is now: {reason}"));
        }
        if conditions::is_ready(old) != conditions::is_ready(new) {
            tracing::info!(ready = conditions::is_ready(new), "node readiness changed");
        }
    }

    fn note_schedulable(&mut self, node: &api::Node) {
        let now = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        if std::mem::replace(&mut self.unschedulable, now) == now {
            return;
        }
        let reason =
            if now { node_event::NODE_NOT_SCHEDULABLE } else { node_event::NODE_SCHEDULABLE };
        let name = &self.parts.config.node_name;
        self.publish_event(false, reason, format!("Node {name} status is now: {reason}"));
    }

    pub fn publish_event(&self, warning: bool, reason: &'static str, message: String) {
        let object = node_reference(&self.parts.config.node_name);
        let at = self.parts.machine.now();
        self.parts.events.publish(ApiEvent { object, warning, reason, message, at });
    }

    fn succeeded(&mut self) {
        if self.failure.take().is_some() {
            tracing::info!("node status reaches the API server again");
        }
    }

    fn failed(&mut self, what: &str, error: &ApiError) {
        let failure = format!("{what}: {error}");
        if self.failure.as_ref() != Some(&failure) {
            tracing::warn!(%error, "{what}");
            self.failure = Some(failure);
        }
    }
}

impl NodeParts {
    /// Memory, disk, process ids: whether hard eviction thresholds are met.
    fn under_pressure(&self, machine: &MachineCapacity) -> [bool; 3] {
        let thresholds = &self.reservations.eviction_hard;
        let met = |signal| thresholds.is_met(signal, machine);
        [
            met(Signal::MemoryAvailable),
            met(Signal::NodeFsAvailable) || met(Signal::NodeFsInodesFree),
            met(Signal::PidAvailable),
        ]
    }
}

/// The value, or `None` with a log line. What is missing also shows in the status, so the line may
/// be a quiet one.
fn noted<T>(what: &str, read: io::Result<T>) -> Option<T> {
    read.inspect_err(|error| tracing::debug!(%error, "cannot read the machine's {what}")).ok()
}

//! The kubelet part: machine, runtime, API, then the tasks from the inside out.

use std::sync::Arc;
use std::time::Duration;

use netproxy::metrics::BuildFacts;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::credential::{self, node_credential};
use super::pods::{self, Slices};
use super::server::{self, ServerParts};
use super::{
    Tasks, logs, signed_certificate, spawn, spawn_with_end, static_pods, stats, user_namespaces,
};
use crate::adapters::Standalone;
use crate::adapters::cri::{CriClient, watch_runtime_events};
use crate::adapters::kube::{Identity, KubeApi};
use crate::adapters::linux::{
    Kernel, LinuxMachine, LinuxMounter, OomScore, open_cgroups, root_dir,
};
use crate::boundary::{
    CgroupDriver, Cgroups, EventSink, Machine, MachineCapacity, Mounter, NodesApi, ObjectsApi,
    RuntimeError, RuntimeFacts,
};
use crate::cli::RunArguments;
use crate::cm::{CmHandle, CmTask, NodeLimits};
use crate::config::AgentConfig;
use crate::events::{EventsHandle, EventsTask};
use crate::exit::{ExitReason, Fatal};
use crate::liveness::{Liveness, Pulse, ServiceFacts};
use crate::metrics::NodeMetrics;
use crate::model::resources::Resources;
use crate::node;
use crate::node::addresses::{Candidates, choose_ips};
use crate::node::allocatable::Reservations;
use crate::node::{LeaseTask, NodeParts, NodeTask, NodeView};
use crate::pleg::{PlegHandle, PlegTask, RuntimeReader};
use crate::podexec::{Allocatable, CgroupFacts, NodeFacts};
use crate::podworker::WallClock;
use crate::server::health;
use crate::status::Readiness;
use crate::telemetry::{Causes, LogVerbosity};

#[cfg(test)]
pub(super) mod tests;

/// How long a runtime may take to answer for the first time. containerd starts within seconds;
/// after this systemd tries again.
const RUNTIME_DEADLINE: Duration = Duration::from_secs(120);

/// How old the last sign of life of a loop may become. The longest waits are known: a slow relist
/// comes every 60 s, the pool gives a sign every 30 s...
const PLEG_SILENCE: Duration = Duration::from_secs(180);
const POOL_SILENCE: Duration = Duration::from_secs(90);
/// ...and a status round makes up to five tries of three calls of 10 s each.
const HEARTBEAT_SILENCE: Duration = Duration::from_secs(240);

/// Kubernetes version from which on a runtime has to tell its cgroup driver (kubelet v1.36).
const NEEDS_CGROUP_DRIVER: &str = "1.37.0";

/// The machine's host name, for the Node's name unless it is overridden.
pub(crate) fn hostname(arguments: &RunArguments) -> Result<String, Fatal> {
    let root = arguments.root_dir.clone().unwrap_or_else(|| "/var/lib/kubelet".into());
    LinuxMachine::new(root).identity().map(|identity| identity.hostname).map_err(|error| {
        Fatal::new(ExitReason::Machine, format!("cannot read what this machine is: {error}"))
    })
}

pub(super) fn machine(message: impl std::fmt::Display) -> Fatal {
    Fatal::new(ExitReason::Machine, message.to_string())
}

/// Everything the tasks share.
pub(super) struct Ground {
    pub machine: Arc<LinuxMachine>,
    capacity: MachineCapacity,
    reservations: Reservations,
    pub runtime: CriClient,
    pub driver: CgroupDriver,
    pub cgroups: Arc<dyn Cgroups>,
    /// `None` in standalone mode.
    pub api: Option<KubeApi>,
    pub facts: Arc<NodeFacts>,
    pub metrics: NodeMetrics,
}

impl Ground {
    /// ConfigMaps, Secrets and Services; none in standalone mode.
    pub fn objects_api(&self) -> Arc<dyn ObjectsApi> {
        match &self.api {
            Some(api) => Arc::new(api.clone()),
            None => Arc::new(Standalone),
        }
    }

    fn event_sink(&self) -> Arc<dyn EventSink> {
        match &self.api {
            Some(api) => Arc::new(api.clone()),
            None => Arc::new(Standalone),
        }
    }

    pub fn clock(&self) -> WallClock {
        credential::clock(Arc::clone(&self.machine))
    }
}

/// What the kubelet part tells the others once it runs.
pub(super) struct Started {
    /// The node's client certificate; `None` in standalone mode.
    pub identity: Option<Identity>,
    pub facts: ServiceFacts,
}

/// What the kubelet part tells while it runs, and what it is told.
pub(super) struct Told {
    pub readiness: Readiness,
    pub verbosity: LogVerbosity,
    pub liveness: Liveness,
}

/// Starts the kubelet part. Fails when the machine, the runtime or the credential do not allow it.
pub(super) async fn start(
    config: &Arc<AgentConfig>,
    arguments: &RunArguments,
    Told { readiness, verbosity, liveness }: Told,
    tasks: &mut Tasks,
) -> Result<Started, Fatal> {
    let metrics = node_metrics(config);
    let credential = node_credential(config, arguments, &metrics, tasks).await?;
    if credential.is_none() {
        static_pods::tell_standalone(config);
    }
    prepare_machine(config)?;
    let api = credential.as_ref().map(|credential| credential.api.clone());
    let ground = ground(config, api, metrics).await?;
    let user_namespaces = user_namespaces::load(config).await?;
    let (events, events_task) =
        EventsTask::new(ground.event_sink(), &config.node_name, &config.limits);
    spawn(tasks, "events", events_task.run());
    let cm = start_cgroups(config, &ground, events.clone(), tasks).await?;
    let pleg = start_pleg(config, &ground, liveness.watch("pleg", PLEG_SILENCE), tasks)?;
    start_health(config, &pleg, tasks).await?;
    let node = start_node(config, &ground, &pleg, (events.clone(), &liveness), tasks);
    let signed_certificate = signed_certificate::start(config, &ground, &node, tasks);
    let static_sources = static_pods::start(config, &ground.clock(), tasks)?;
    let facts = ServiceFacts {
        node: node.clone(),
        runtime: pleg.subscribe(),
        registers: credential.is_some(),
    };
    let pulse = liveness.watch("pod workers", POOL_SILENCE);
    let pleg_health = pleg.health();
    let slices =
        Slices { events, cm, pleg, node, static_sources, user_namespaces, readiness, pulse };
    let (pods, volumes) = pods::start(config, &ground, slices, tasks);
    let stats = stats::start(config, &ground, (&pods, volumes), tasks)?;
    let parts = ServerParts {
        ground: &ground,
        arguments,
        pods,
        pleg_health,
        signed_certificate,
        stats,
        log_watch: logs::watch(tasks),
        verbosity,
    };
    server::start(config, &parts, tasks).await?;
    Ok(Started { identity: credential.map(|credential| credential.identity), facts })
}

/// Directories, kernel settings and this process's own place among the others.
fn prepare_machine(config: &AgentConfig) -> Result<(), Fatal> {
    let kernel = Kernel::default();
    if config.cgroups.fail_on_swap {
        kernel.check_swap_off().map_err(|error| machine(Causes(&error)))?;
    }
    match kernel.apply_tunables(config.cgroups.protect_kernel_defaults) {
        Ok(()) => {}
        Err(error) if config.cgroups.protect_kernel_defaults => {
            return Err(machine(Causes(&error)));
        }
        Err(error) => {
            tracing::warn!(error = %Causes(&error), "going on with the kernel's settings")
        }
    }
    match kernel.set_own_oom_score_adj(config.cgroups.oom_score_adj) {
        Ok(OomScore::Set) => {}
        Ok(OomScore::Kept(score)) => {
            tracing::warn!(score, "the kernel does not let noded lower its oom score");
        }
        Err(error) => tracing::warn!(error = %Causes(&error), "cannot set the oom score"),
    }
    root_dir::make_root(&config.root_dir)
        .map_err(|error| machine(format!("cannot make {}: {error}", config.root_dir.display())))?;
    // What is mounted below for a pod must show in containers that ask for propagation.
    LinuxMounter.make_shared(&config.root_dir).map_err(|error| machine(Causes(&error)))
}

/// Reads the machine and waits for the runtime.
async fn ground(
    config: &AgentConfig,
    api: Option<KubeApi>,
    metrics: NodeMetrics,
) -> Result<Ground, Fatal> {
    let linux = Arc::new(LinuxMachine::new(&config.root_dir));
    let capacity = linux
        .capacity()
        .map_err(|error| machine(format!("cannot read what this machine has: {error}")))?;
    let reservations = Reservations::parse(&config.node)
        .map_err(|error| Fatal::new(ExitReason::Configuration, Causes(&error).to_string()))?;
    let runtime = CriClient::new(
        &config.runtime_endpoint,
        &config.image_endpoint,
        config.cadence.runtime_request,
        &metrics.runtime,
    )
    .map_err(|error| Fatal::new(ExitReason::Runtime, error.to_string()))?;
    let driver = wait_for_runtime(config, &runtime, &metrics).await?;
    let cgroups = open_cgroups().map_err(|error| machine(Causes(&error)))?;
    let version = cgroups.version();
    let facts = node_facts(config, &linux, &capacity, &reservations, version).await?;
    let facts = Arc::new(facts);
    Ok(Ground {
        machine: linux,
        capacity,
        reservations,
        runtime,
        driver,
        cgroups,
        api,
        facts,
        metrics,
    })
}

fn node_metrics(config: &AgentConfig) -> NodeMetrics {
    let build = BuildFacts {
        kubernetes_version: config.kubelet_version.clone(),
        own_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    NodeMetrics::new(&config.node_name, &build)
}

/// The cgroup driver of the runtime, as soon as it answers.
async fn wait_for_runtime(
    config: &AgentConfig,
    runtime: &CriClient,
    metrics: &NodeMetrics,
) -> Result<CgroupDriver, Fatal> {
    let begun = tokio::time::Instant::now();
    let mut told = false;
    loop {
        let error = match ask_runtime(config, runtime, metrics).await {
            Ok(driver) => return Ok(driver),
            Err(error) => error,
        };
        let hopeless =
            matches!(error, RuntimeError::Refused { .. } | RuntimeError::Unimplemented(_));
        if hopeless || begun.elapsed() > RUNTIME_DEADLINE {
            return Err(Fatal::new(
                ExitReason::Runtime,
                format!(
                    "no container runtime at {}: {error}; start containerd with its CRI plugin, or correct containerRuntimeEndpoint",
                    config.runtime_endpoint
                ),
            ));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(endpoint = config.runtime_endpoint, %error, "waiting for the container runtime");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn ask_runtime(
    config: &AgentConfig,
    runtime: &CriClient,
    metrics: &NodeMetrics,
) -> Result<CgroupDriver, RuntimeError> {
    let version = runtime.version().await?;
    let driver = match runtime.cgroup_driver().await {
        Err(RuntimeError::Unimplemented(_)) => {
            metrics.runtime.losing_support(NEEDS_CGROUP_DRIVER);
            config.cgroups.driver
        }
        answer => answer?,
    };
    tracing::info!(name = version.name, version = version.version, "container runtime");
    Ok(driver)
}

async fn node_facts(
    config: &AgentConfig,
    linux: &LinuxMachine,
    capacity: &MachineCapacity,
    reservations: &Reservations,
    cgroup_version: u8,
) -> Result<NodeFacts, Fatal> {
    let unreadable = |error| machine(format!("cannot read this machine's addresses: {error}"));
    let host = linux.addresses().await.map_err(unreadable)?;
    let resolved = linux.resolve(&config.node_name).await.unwrap_or_default();
    let host_ips = choose_ips(&Candidates {
        node_name: &config.node_name,
        configured: &config.node_ips,
        host: &host,
        resolved: &resolved,
    })
    .map_err(|error| machine(format!("{error}; give --node-ip")))?;
    let has = node::allocatable::capacity(capacity, &config.node);
    let usable = node::allocatable::allocatable(&has, reservations);
    Ok(NodeFacts {
        host_ips,
        allocatable: allocatable(&usable),
        memory_capacity_bytes: capacity.memory_bytes,
        huge_page_sizes: capacity.huge_pages.iter().map(|(size, _)| *size).collect(),
        cgroup: CgroupFacts {
            version: cgroup_version,
            swap_controller: root_dir::has_swap_controller(cgroup_version),
        },
        cfs_quota_period: config
            .cgroups
            .cpu_cfs_quota
            .then_some(config.cgroups.cpu_cfs_quota_period),
        seccomp_root: config.root_dir.join("seccomp"),
        seccomp_default: config.seccomp_default,
        thermal_throttle_paths: root_dir::thermal_throttle_paths(),
        pod_logs_dir: config.pod_logs_dir.clone(),
        cluster_domain: config.dns.cluster_domain.clone(),
    })
}

fn allocatable(usable: &Resources) -> Allocatable {
    let value =
        |name: &str| usable.get(name).map_or(0, |amount| amount.value().max(0).unsigned_abs());
    Allocatable {
        cpu_milli: usable.get("cpu").map_or(0, |amount| amount.milli_value().max(0).unsigned_abs()),
        memory_bytes: value("memory"),
        ephemeral_storage_bytes: value("ephemeral-storage"),
    }
}

async fn start_cgroups(
    config: &AgentConfig,
    ground: &Ground,
    events: EventsHandle,
    tasks: &mut Tasks,
) -> Result<CmHandle, Fatal> {
    let has = node::allocatable::capacity(&ground.capacity, &config.node);
    let limits = NodeLimits {
        usable: node::allocatable::usable_by_pods(&has, &ground.reservations),
        pid_max: ground.capacity.pid_max,
        huge_page_sizes: ground.facts.huge_page_sizes.clone(),
    };
    let (handle, task) = CmTask::start(
        &config.cgroups,
        ground.driver,
        Arc::clone(&ground.cgroups),
        limits,
        ground.machine.clone(),
        (&config.node_name, events),
    )
    .await
    .map_err(|error| machine(Causes(&error)))?;
    let task = task.with_metrics(ground.metrics.cgroups.clone());
    spawn(tasks, "container manager", task.run());
    Ok(handle)
}

fn start_pleg(
    config: &AgentConfig,
    ground: &Ground,
    pulse: Pulse,
    tasks: &mut Tasks,
) -> Result<PlegHandle, Fatal> {
    let (wakes, watching) = watch_runtime_events(&config.runtime_endpoint)
        .map_err(|error| Fatal::new(ExitReason::Runtime, error.to_string()))?;
    spawn(tasks, "runtime events", watching);
    let reader = RuntimeReader {
        sandboxes: Arc::new(ground.runtime.clone()),
        containers: Arc::new(ground.runtime.clone()),
    };
    let (task, handle) = PlegTask::new(reader, wakes);
    let task = task.with_metrics(ground.metrics.pleg.clone()).with_pulse(pulse);
    spawn(tasks, "pleg", task.run());
    Ok(handle)
}

async fn start_health(
    config: &AgentConfig,
    pleg: &PlegHandle,
    tasks: &mut Tasks,
) -> Result<(), Fatal> {
    let Some(address) = config.healthz else { return Ok(()) };
    let listener = TcpListener::bind(address).await.map_err(|error| {
        machine(format!(
            "cannot listen on {address} for healthz: {error}; is another kubelet running? change healthzPort, or set it to 0"
        ))
    })?;
    let checks = vec![health::Check { name: "pleg", trouble: pleg.health() }];
    spawn_with_end(tasks, "healthz", async move {
        match health::serve(listener, checks).await {
            Ok(()) => "it returned".to_owned(),
            Err(error) => error.to_string(),
        }
    });
    Ok(())
}

fn start_node(
    config: &Arc<AgentConfig>,
    ground: &Ground,
    pleg: &PlegHandle,
    (events, liveness): (EventsHandle, &Liveness),
    tasks: &mut Tasks,
) -> watch::Receiver<NodeView> {
    let api = ground.api.clone().map(|api| Arc::new(api) as Arc<dyn NodesApi>);
    let (view, task) = NodeTask::new(NodeParts {
        config: Arc::clone(config),
        reservations: ground.reservations.clone(),
        api: api.clone(),
        machine: ground.machine.clone(),
        runtime: Arc::new(ground.runtime.clone()),
        images: Arc::new(ground.runtime.clone()),
        pleg_health: pleg.health(),
        events,
    });
    let silence = HEARTBEAT_SILENCE + 2 * config.cadence.node_status_update;
    let pulse = liveness.watch("node status", silence);
    spawn(tasks, "node", task.with_pulse(pulse).run());
    if let Some(api) = api {
        let duration = config.cadence.lease_duration;
        let lease = LeaseTask::new(api, ground.machine.clone(), view.clone(), duration);
        let pulse = liveness.watch("lease", HEARTBEAT_SILENCE + duration);
        spawn(tasks, "lease", lease.with_pulse(pulse).run());
    }
    view
}

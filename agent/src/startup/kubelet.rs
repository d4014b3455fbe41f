//! The kubelet part: machine, runtime, API, then the tasks from the inside out.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::credential::node_api;
use super::{Tasks, spawn, spawn_with_end};
use crate::adapters::cri::{CriClient, watch_runtime_events};
use crate::adapters::kube::KubeApi;
use crate::adapters::linux::{
    Kernel, LinuxMachine, LinuxMounter, OomScore, open_cgroups, root_dir,
};
use crate::boundary::{
    CgroupDriver, Machine, MachineCapacity, Mounter, NodesApi, RuntimeError, RuntimeFacts,
};
use crate::cli::RunArguments;
use crate::cm::{CmHandle, CmTask, NodeLimits};
use crate::config::AgentConfig;
use crate::events::{EventsHandle, EventsTask};
use crate::exit::{ExitReason, Fatal};
use crate::images::ImagesHandle;
use crate::model::resources::Resources;
use crate::node::addresses::{Candidates, choose_ips};
use crate::node::allocatable::Reservations;
use crate::node::{LeaseTask, NodeParts, NodeTask, NodeView};
use crate::pleg::{PlegHandle, PlegTask, RuntimeReader};
use crate::podexec::{Allocatable, CgroupFacts, Executor, NodeFacts, NodeSupplies};
use crate::podplan::PlanRules;
use crate::podsource::PodSourceTask;
use crate::podworker::{PodPool, WallClock, WorkerContext};
use crate::server::health;
use crate::status::StatusTask;
use crate::telemetry::Causes;
use crate::volumes::VolumesDeps;
use crate::{node, objects, volumes};

/// How long a runtime may take to answer for the first time. containerd starts within seconds;
/// after this systemd tries again.
const RUNTIME_DEADLINE: Duration = Duration::from_secs(120);

/// The machine's host name, for the Node's name unless it is overridden.
pub(super) fn hostname(arguments: &RunArguments) -> Result<String, Fatal> {
    let root = arguments.root_dir.clone().unwrap_or_else(|| "/var/lib/kubelet".into());
    LinuxMachine::new(root).identity().map(|identity| identity.hostname).map_err(|error| {
        Fatal::new(ExitReason::Machine, format!("cannot read what this machine is: {error}"))
    })
}

fn machine(message: impl std::fmt::Display) -> Fatal {
    Fatal::new(ExitReason::Machine, message.to_string())
}

/// Everything the tasks share.
struct Ground {
    machine: Arc<LinuxMachine>,
    capacity: MachineCapacity,
    reservations: Reservations,
    runtime: CriClient,
    driver: CgroupDriver,
    api: KubeApi,
    facts: Arc<NodeFacts>,
}

/// Starts the kubelet part. Fails when the machine, the runtime or the credential do not allow it.
pub(super) async fn start(
    config: &Arc<AgentConfig>,
    arguments: &RunArguments,
    tasks: &mut Tasks,
) -> Result<(), Fatal> {
    let api = node_api(config, arguments).await?;
    prepare_machine(config)?;
    let ground = ground(config, api).await?;
    let (events, events_task) =
        EventsTask::new(Arc::new(ground.api.clone()), &config.node_name, &config.limits);
    spawn(tasks, "events", events_task.run());
    let cm = start_cgroups(config, &ground, events.clone(), tasks).await?;
    let pleg = start_pleg(config, &ground, tasks)?;
    start_health(config, &pleg, tasks).await?;
    let node = start_node(config, &ground, &pleg, events.clone(), tasks);
    start_pods(config, &ground, Slices { events, cm, pleg, node }, tasks);
    Ok(())
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
async fn ground(config: &AgentConfig, api: KubeApi) -> Result<Ground, Fatal> {
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
    )
    .map_err(|error| Fatal::new(ExitReason::Runtime, error.to_string()))?;
    wait_for_runtime(config, &runtime).await?;
    let driver = match runtime.cgroup_driver().await {
        Ok(driver) => driver,
        Err(RuntimeError::Unimplemented(_)) => config.cgroups.driver,
        Err(error) => {
            return Err(Fatal::new(
                ExitReason::Runtime,
                format!("the container runtime does not tell its cgroup driver: {error}"),
            ));
        }
    };
    let facts = Arc::new(node_facts(config, &linux, &capacity, &reservations).await?);
    Ok(Ground { machine: linux, capacity, reservations, runtime, driver, api, facts })
}

async fn wait_for_runtime(config: &AgentConfig, runtime: &CriClient) -> Result<(), Fatal> {
    let begun = tokio::time::Instant::now();
    let mut told = false;
    loop {
        let error = match runtime.version().await {
            Ok(version) => {
                tracing::info!(name = version.name, version = version.version, "container runtime");
                return Ok(());
            }
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

async fn node_facts(
    config: &AgentConfig,
    linux: &LinuxMachine,
    capacity: &MachineCapacity,
    reservations: &Reservations,
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
    let cgroups = open_cgroups().map_err(|error| machine(Causes(&error)))?;
    Ok(NodeFacts {
        host_ips,
        allocatable: allocatable(&usable),
        memory_capacity_bytes: capacity.memory_bytes,
        huge_page_sizes: capacity.huge_pages.iter().map(|(size, _)| *size).collect(),
        cgroup: CgroupFacts {
            version: cgroups.version(),
            swap_controller: root_dir::has_swap_controller(cgroups.version()),
        },
        cfs_quota_period: config
            .cgroups
            .cpu_cfs_quota
            .then_some(config.cgroups.cpu_cfs_quota_period),
        seccomp_root: config.root_dir.join("seccomp"),
        seccomp_default: config.seccomp_default,
        thermal_throttle_paths: root_dir::thermal_throttle_paths(),
        recursive_read_only: false,
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
    let cgroups = open_cgroups().map_err(|error| machine(Causes(&error)))?;
    let has = node::allocatable::capacity(&ground.capacity, &config.node);
    let limits = NodeLimits {
        usable: node::allocatable::usable_by_pods(&has, &ground.reservations),
        pid_max: ground.capacity.pid_max,
        huge_page_sizes: ground.facts.huge_page_sizes.clone(),
    };
    let (handle, task) = CmTask::start(
        &config.cgroups,
        ground.driver,
        cgroups,
        limits,
        ground.machine.clone(),
        (&config.node_name, events),
    )
    .await
    .map_err(|error| machine(Causes(&error)))?;
    spawn(tasks, "container manager", task.run());
    Ok(handle)
}

fn start_pleg(
    config: &AgentConfig,
    ground: &Ground,
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

/// What pods need of the other slices.
struct Slices {
    events: EventsHandle,
    cm: CmHandle,
    pleg: PlegHandle,
    node: watch::Receiver<NodeView>,
}

fn start_pods(config: &AgentConfig, ground: &Ground, slices: Slices, tasks: &mut Tasks) {
    let api = Arc::new(ground.api.clone());
    let clock_machine = Arc::clone(&ground.machine);
    let clock: WallClock = Arc::new(move || clock_machine.now());
    let (objects, objects_task, changed) = objects::new(api.clone());
    spawn(tasks, "objects", objects_task.run());
    let (volumes, volumes_task) = volumes::new(
        VolumesDeps {
            root_dir: config.root_dir.clone(),
            mounter: Arc::new(LinuxMounter),
            api: api.clone(),
            objects: objects.clone(),
            machine: ground.machine.clone(),
            node: Arc::clone(&ground.facts),
        },
        changed,
    );
    spawn(tasks, "volumes", volumes_task.run());
    let images = ImagesHandle::new(
        Arc::new(ground.runtime.clone()),
        Some(api.clone()),
        slices.events.clone(),
        config.image_pulls.parallel,
    );
    let supplies = NodeSupplies {
        cm: slices.cm,
        volumes,
        images,
        objects,
        api: api.clone(),
        events: slices.events.clone(),
        node: Arc::clone(&ground.facts),
        dns: config.dns.clone(),
        container_logs_dir: config.container_logs_dir.clone(),
        clock: Arc::clone(&clock),
    };
    let (status_task, status) = StatusTask::new(api.clone());
    spawn(tasks, "pod status", status_task.run());
    let (source, desired) = PodSourceTask::new(&*api, &config.node_name);
    spawn_with_end(tasks, "pod source", async move {
        source.run().await.map_or_else(|error| error.to_string(), |()| "it returned".to_owned())
    });
    let context = WorkerContext {
        executor: Executor {
            sandboxes: Arc::new(ground.runtime.clone()),
            containers: Arc::new(ground.runtime.clone()),
            supplies: Arc::new(supplies),
        },
        pleg: slices.pleg,
        status,
        events: slices.events,
        node: slices.node,
        rules: PlanRules { restart_cap: config.cadence.max_container_restart },
        sync_period: config.cadence.sync,
        clock,
    };
    let (pool, _states) = PodPool::new(context, desired);
    spawn_with_end(tasks, "pod workers", async move { Causes(&pool.run().await).to_string() });
}

fn start_node(
    config: &Arc<AgentConfig>,
    ground: &Ground,
    pleg: &PlegHandle,
    events: EventsHandle,
    tasks: &mut Tasks,
) -> watch::Receiver<NodeView> {
    let api: Arc<dyn NodesApi> = Arc::new(ground.api.clone());
    let (view, task) = NodeTask::new(NodeParts {
        config: Arc::clone(config),
        reservations: ground.reservations.clone(),
        api: Some(Arc::clone(&api)),
        machine: ground.machine.clone(),
        runtime: Arc::new(ground.runtime.clone()),
        images: Arc::new(ground.runtime.clone()),
        pleg_health: pleg.health(),
        events,
    });
    spawn(tasks, "node", task.run());
    let lease =
        LeaseTask::new(api, ground.machine.clone(), view.clone(), config.cadence.lease_duration);
    spawn(tasks, "lease", lease.run());
    view
}

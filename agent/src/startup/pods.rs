//! The tasks that look after pods.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::kubelet::Ground;
use super::{Tasks, spawn, spawn_with_end};
use crate::adapters::cri::ContainerdContent;
use crate::adapters::linux::docker_config::DockerConfigFiles;
use crate::adapters::linux::{ExecPlugins, LinuxDialer, LinuxMounter, root_dir};
use crate::admission::AdmissionRules;
use crate::boundary::{ContentStore, NodesApi, PodsApi};
use crate::cm::CmHandle;
use crate::config::AgentConfig;
use crate::container_logs::{RotationParts, RotationTask};
use crate::events::EventsHandle;
use crate::gc::{GcParts, GcTask, NodeRemains};
use crate::images::{ImagesDeps, ImagesHandle};
use crate::liveness::Pulse;
use crate::model::PodUid;
use crate::node::NodeView;
use crate::objects::ObjectsHandle;
use crate::pleg::PlegHandle;
use crate::podexec::{Executor, NodeSupplies};
use crate::podplan::PlanRules;
use crate::podsource::{DesiredPods, MirrorTask, PodSourceTask, Sources};
use crate::podworker::{AdmissionParts, PodPool, WorkMetrics, WorkerContext};
use crate::prober::{self, ProbeContext};
use crate::server::NodePods;
use crate::status::{Readiness, StatusHandle, StatusTask};
use crate::telemetry::Causes;
use crate::user_namespaces::UserNamespaces;
use crate::volumes::{VolumeThreads, VolumesDeps, VolumesHandle, VolumesTask};
use crate::{objects, volumes};

/// What pods need of the other slices.
pub(super) struct Slices {
    pub events: EventsHandle,
    pub cm: CmHandle,
    pub pleg: PlegHandle,
    pub node: watch::Receiver<NodeView>,
    pub static_sources: Sources,
    pub user_namespaces: UserNamespaces,
    pub readiness: Readiness,
    /// Of the loop that owns the pod workers.
    pub pulse: Pulse,
}

/// Starts what pods are supplied by, then their sources, then those who look after them. Returns
/// what others look the pods and their volumes up in.
pub(super) fn start(
    config: &AgentConfig,
    ground: &Ground,
    slices: Slices,
    tasks: &mut Tasks,
) -> (NodePods, VolumesHandle) {
    let (objects, objects_task, changed) = objects::new(ground.objects_api());
    spawn(tasks, "objects", objects_task.run());
    let (volumes, volumes_task) = volumes(config, ground, &slices, (objects.clone(), changed));
    let object_changes = objects.changes();
    let executor = executor(ground, supplies(config, ground, &slices, (objects, volumes.clone())));
    let remains = NodeRemains {
        volumes: volumes.clone(),
        cm: slices.cm.clone(),
        executor: executor.clone(),
        user_namespaces: slices.user_namespaces.clone(),
        pod_logs_dir: config.pod_logs_dir.clone(),
        container_logs_dir: config.container_logs_dir.clone(),
    };
    let desired = start_sources(config, ground, slices.static_sources, tasks);
    spawn(tasks, "volumes", volumes_task.run(desired.clone()));
    let status = start_status(ground, &desired, tasks);
    slices.events.give_way_to(status.busy());
    let context = WorkerContext {
        prober: Arc::new(ProbeContext {
            dialer: Arc::clone(&executor.dialer),
            streaming: Arc::clone(&executor.streaming),
            events: slices.events.clone(),
            clock: ground.clock(),
            noded_started: tokio::time::Instant::now(),
            metrics: ground.metrics.probes.clone(),
        }),
        executor,
        pleg: slices.pleg.clone(),
        status,
        readiness: slices.readiness,
        events: slices.events.clone(),
        node: slices.node.clone(),
        object_changes,
        rules: PlanRules {
            restart_cap: config.cadence.max_container_restart,
            kept_dead: config.dead_containers.per_container,
        },
        admission: AdmissionParts {
            rules: AdmissionRules {
                sysctls: config.allowed_sysctls.clone(),
                app_armor: root_dir::has_app_armor(),
            },
            nodes: ground.api.clone().map(|api| Arc::new(api) as Arc<dyn NodesApi>),
        },
        sync_period: config.cadence.sync,
        clock: ground.clock(),
        metrics: WorkMetrics {
            pods: ground.metrics.pods.clone(),
            containers: ground.metrics.containers.clone(),
        },
    };
    let status = context.status.clone();
    let (pool, workers) = PodPool::new(context, desired.clone());
    let pool = pool.with_pulse(slices.pulse);
    let pods = NodePods {
        desired: desired.clone(),
        workers: workers.clone(),
        pleg: slices.pleg.clone(),
        status,
    };
    let garbage = GcTask::new(GcParts {
        node_name: config.node_name.clone(),
        limits: config.dead_containers,
        desired: desired.clone(),
        workers: workers.clone(),
        runtime: slices.pleg.subscribe(),
        remains: Arc::new(remains),
        events: slices.events,
        clock: ground.clock(),
    });
    spawn(tasks, "garbage collector", garbage.run());
    let rotation = RotationTask::new(RotationParts {
        root: config.pod_logs_dir.clone(),
        rotation: config.log_rotation,
        runtime: slices.pleg.subscribe(),
        containers: Arc::new(ground.runtime.clone()),
        clock: ground.clock(),
    });
    spawn(tasks, "log rotation", rotation.run());
    if let Some(api) = &ground.api {
        let mirrors = MirrorTask::new(Arc::new(api.clone()), desired, workers, slices.node);
        spawn(tasks, "mirror pods", mirrors.run());
    }
    spawn_with_end(tasks, "pod workers", async move { Causes(&pool.run().await).to_string() });
    (pods, volumes)
}

fn volumes(
    config: &AgentConfig,
    ground: &Ground,
    slices: &Slices,
    (objects, changed): (ObjectsHandle, broadcast::Receiver<PodUid>),
) -> (VolumesHandle, VolumesTask) {
    // Without threads of their own, volumes share those of all others.
    let threads = VolumeThreads::apart().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot set threads for volumes apart");
        VolumeThreads::on(tokio::runtime::Handle::current())
    });
    let deps = VolumesDeps {
        root_dir: config.root_dir.clone(),
        mounter: Arc::new(LinuxMounter),
        api: ground.objects_api(),
        objects,
        machine: ground.machine.clone(),
        node: Arc::clone(&ground.facts),
        threads,
        view: slices.node.clone(),
        events: slices.events.clone(),
        metrics: ground.metrics.volumes.clone(),
    };
    volumes::new(deps, changed)
}

fn supplies(
    config: &AgentConfig,
    ground: &Ground,
    slices: &Slices,
    (objects, volumes): (ObjectsHandle, VolumesHandle),
) -> NodeSupplies {
    NodeSupplies {
        cm: slices.cm.clone(),
        volumes,
        images: images(config, ground, objects.clone(), slices.events.clone()),
        objects,
        api: ground.objects_api(),
        events: slices.events.clone(),
        node: Arc::clone(&ground.facts),
        user_namespaces: slices.user_namespaces.clone(),
        view: slices.node.clone(),
        dns: config.dns.clone(),
        container_logs_dir: config.container_logs_dir.clone(),
        clock: ground.clock(),
    }
}

fn images(
    config: &AgentConfig,
    ground: &Ground,
    objects: ObjectsHandle,
    events: EventsHandle,
) -> ImagesHandle {
    let content = ContainerdContent::new(&config.image_endpoint).ok();
    let deps = ImagesDeps {
        service: Arc::new(ground.runtime.clone()),
        content: content.map(|content| Arc::new(content) as Arc<dyn ContentStore>),
        secrets: ground.api.is_some().then_some(objects),
        objects: ground.api.is_some().then(|| ground.objects_api()),
        plugins: Arc::new(ExecPlugins::default()),
        events,
        clock: ground.clock(),
        root_dir: config.root_dir.clone(),
        docker_config: DockerConfigFiles::of_node(&config.root_dir),
        metrics: ground.metrics.images.clone(),
        starts: ground.metrics.pods.starts.clone(),
    };
    ImagesHandle::new(deps, &config.image_pulls, &config.limits)
}

/// Hooks reach pods the way probes do.
fn executor(ground: &Ground, supplies: NodeSupplies) -> Executor {
    Executor {
        sandboxes: Arc::new(ground.runtime.clone()),
        containers: Arc::new(ground.runtime.clone()),
        streaming: Arc::new(ground.runtime.clone()),
        dialer: Arc::new(LinuxDialer::new(prober::USER_AGENT)),
        supplies: Arc::new(supplies),
        metrics: ground.metrics.runtime.clone(),
    }
}

/// Starts what merges the pods of all sources.
fn start_sources(
    config: &AgentConfig,
    ground: &Ground,
    static_sources: Sources,
    tasks: &mut Tasks,
) -> watch::Receiver<Arc<DesiredPods>> {
    let watched = ground.api.as_ref().map(PodsApi::watch_pods);
    let sources = Sources { api: watched, ..static_sources };
    let (source, desired) = PodSourceTask::with_sources(sources, &config.node_name);
    spawn_with_end(tasks, "pod source", async move {
        source.run().await.map_or_else(|error| error.to_string(), |()| "it returned".to_owned())
    });
    desired
}

/// Starts what writes pod statuses to the API.
fn start_status(
    ground: &Ground,
    desired: &watch::Receiver<Arc<DesiredPods>>,
    tasks: &mut Tasks,
) -> StatusHandle {
    let Some(api) = &ground.api else { return StatusHandle::nowhere() };
    let (task, handle) = StatusTask::new(Arc::new(api.clone()));
    let task = task.with_mirrors(desired.clone()).with_metrics(ground.metrics.pods.clone());
    spawn(tasks, "pod status", task.run());
    handle
}

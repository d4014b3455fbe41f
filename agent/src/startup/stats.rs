//! The task that reads figures.

use std::sync::Arc;

use super::kubelet::{Ground, machine};
use super::{Tasks, spawn};
use crate::adapters::linux::LinuxUsage;
use crate::boundary::{Machine, Usage};
use crate::cm::names::CgroupNames;
use crate::config::AgentConfig;
use crate::exit::Fatal;
use crate::metrics::VolumeFigures;
use crate::server::NodePods;
use crate::stats::{MachineFacts, SeenPods, StatsHandle, StatsParts, StatsTask};
use crate::telemetry::Causes;
use crate::volumes::{MountedClaim, VolumesHandle};

/// Starts the task; nothing is read before somebody asks.
pub(super) fn start(
    config: &AgentConfig,
    ground: &Ground,
    (pods, volumes): (&NodePods, VolumesHandle),
    tasks: &mut Tasks,
) -> Result<StatsHandle, Fatal> {
    let usage = LinuxUsage::open().map_err(|error| machine(Causes(&error)))?;
    let facts = MachineFacts {
        node_name: config.node_name.clone(),
        identity: ground.machine.identity().unwrap_or_default(),
        booted: usage.boot_time().ok(),
        started: Some(ground.machine.now()),
        topology: usage.cpu_topology(),
    };
    let usage: Arc<dyn Usage> = Arc::new(usage);
    let (looked_at, looker) = (volumes.clone(), Arc::clone(&usage));
    ground.metrics.volumes.look_at(move || volume_figures(&looked_at, looker.as_ref()));
    let pods = pods.clone();
    let seen = move || SeenPods {
        known: pods.all(),
        runtime: pods.runtime_pods().unwrap_or_default(),
        claims: volumes.claims(),
    };
    let (handle, task) = StatsTask::new(StatsParts {
        facts: Arc::new(facts),
        pods: Box::new(seen),
        usage,
        cgroups: Arc::clone(&ground.cgroups),
        machine: ground.machine.clone(),
        runtime: Arc::new(ground.runtime.clone()),
        names: CgroupNames::new(ground.driver, &config.cgroups.root),
        root_dir: config.root_dir.clone(),
        pod_logs_dir: config.pod_logs_dir.clone(),
        runtime_endpoint: config.runtime_endpoint.clone(),
        volumes_period: config.stats.volumes_period,
        clock: ground.clock(),
    });
    spawn(tasks, "stats", task.run());
    Ok(handle)
}

/// Counts of volumes and the file systems of claims. Blocks as long as those take to answer; one
/// that cannot be looked at is left out.
fn volume_figures(volumes: &VolumesHandle, usage: &dyn Usage) -> VolumeFigures {
    let claims = volumes.claims().into_values().flatten();
    let look = |claim: MountedClaim| Some((claim.claim, usage.file_system(&claim.path).ok()?));
    VolumeFigures { counts: volumes.counts(), claims: claims.filter_map(look).collect() }
}

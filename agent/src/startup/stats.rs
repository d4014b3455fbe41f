//! The task that reads figures.

use std::sync::Arc;

use super::kubelet::{Ground, machine};
use super::{Tasks, spawn};
use crate::adapters::linux::LinuxUsage;
use crate::boundary::Machine;
use crate::cm::names::CgroupNames;
use crate::config::AgentConfig;
use crate::exit::Fatal;
use crate::server::NodePods;
use crate::stats::{MachineFacts, SeenPods, StatsHandle, StatsParts, StatsTask};
use crate::telemetry::Causes;

/// Starts the task; nothing is read before somebody asks.
pub(super) fn start(
    config: &AgentConfig,
    ground: &Ground,
    pods: &NodePods,
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
    let pods = pods.clone();
    let seen =
        move || SeenPods { known: pods.all(), runtime: pods.runtime_pods().unwrap_or_default() };
    let (handle, task) = StatsTask::new(StatsParts {
        facts: Arc::new(facts),
        pods: Box::new(seen),
        usage: Arc::new(usage),
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

use std::path::Path;

use super::*;
use crate::podexec::fixtures::node_facts;
use crate::testing::fake_host::FakeCgroups;

/// A ground with files below `root`, a runtime that does not answer, and no API server.
pub(in crate::startup) fn ground(root: &Path) -> Ground {
    let build = BuildFacts { kubernetes_version: String::new(), own_version: String::new() };
    let metrics = NodeMetrics::new("node-1", &build);
    let socket = format!("unix://{}", root.join("no-runtime.sock").display());
    Ground {
        machine: Arc::new(LinuxMachine::new(root)),
        capacity: MachineCapacity::default(),
        reservations: Reservations::default(),
        runtime: CriClient::new(&socket, &socket, Duration::from_secs(1), &metrics.runtime)
            .unwrap(),
        driver: CgroupDriver::Cgroupfs,
        cgroups: Arc::new(FakeCgroups::default()),
        api: None,
        facts: Arc::new(node_facts()),
        metrics,
    }
}

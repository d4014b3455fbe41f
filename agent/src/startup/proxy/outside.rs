//! What the proxy shows to the outside: its servers, its metrics and its events.

use std::path::PathBuf;
use std::sync::Arc;

use netproxy::config::BindFailures;
use netproxy::events::ProxyEvents;
use netproxy::health::HealthRoutes;
use netproxy::http::{RouteTable, TcpPorts};
use netproxy::metrics::{BuildFacts, MetricsRoutes, ProxyMetrics, WallClock};
use netproxy::nfacct::AccountingCounters;
use netproxy::servers::{ServerKind, keep_open};
use netproxy::{Outside, ProxyConfig, ProxyMode, ProxyStatus, health_timeout};
use serde_json::Value;
use tokio::sync::watch;

use super::super::{Tasks, spawn, spawn_with_end};
use crate::adapters::kube::KubeApi;
use crate::adapters::linux::{LinuxMachine, LinuxManifestFiles};
use crate::boundary::{Machine, ManifestFile, ManifestFiles};
use crate::config::AgentConfig;
use crate::events::{EventsTask, KUBE_PROXY, ProxyEventRecorder};
use crate::telemetry::Causes;

/// What the loop of the proxy tells its news to. The mode is the one in use.
pub(super) fn outside(
    agent: &AgentConfig,
    (mode, node_name): (ProxyMode, &str),
    api: &KubeApi,
    counters: Option<Arc<dyn AccountingCounters>>,
    tasks: &mut Tasks,
) -> Outside {
    let machine = LinuxMachine::new(&agent.root_dir);
    let clock: WallClock = Arc::new(move || machine.now());
    // A recorder of its own: the proxy may have another credential, and says who it is.
    let sink = Arc::new(api.clone());
    let (handle, writing) = EventsTask::reported_by(KUBE_PROXY, sink, node_name, &agent.limits);
    spawn(tasks, "proxy events", writing.run());
    let build = BuildFacts {
        kubernetes_version: agent.kubelet_version.clone(),
        own_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Outside {
        metrics: ProxyMetrics::with_packets(mode, &build, Arc::clone(&clock), counters),
        events: Arc::new(ProxyEventRecorder::new(handle, node_name, clock)),
        ports: Some(Arc::new(TcpPorts)),
    }
}

/// Opens the health and the metrics port and keeps them open.
pub(super) fn start_servers(
    config: &ProxyConfig,
    (mode, effective): (ProxyMode, Value),
    outside: &Outside,
    status: watch::Receiver<ProxyStatus>,
    tasks: &mut Tasks,
) {
    let metrics = outside.metrics.clone();
    let clock = metrics.clock();
    let timeout = health_timeout(config);
    let health = HealthRoutes { status, timeout, metrics: metrics.clone(), clock }.table();
    let metrics = MetricsRoutes { metrics, mode, effective }.table();
    let servers = [
        (ServerKind::Health, config.healthz_bind_address, health),
        (ServerKind::Metrics, config.metrics_bind_address, metrics),
    ];
    for (kind, address, table) in servers {
        if let Some(address) = address {
            let events = Arc::clone(&outside.events);
            start_server(kind, (address, table), events, config.bind_failures, tasks);
        }
    }
}

fn start_server(
    kind: ServerKind,
    server: (std::net::SocketAddr, RouteTable),
    events: Arc<dyn ProxyEvents>,
    failures: BindFailures,
    tasks: &mut Tasks,
) {
    let name = match kind {
        ServerKind::Health => "proxy health",
        ServerKind::Metrics => "proxy metrics",
    };
    spawn_with_end(tasks, name, async move {
        let events: &dyn ProxyEvents = &*events;
        Causes(&keep_open(kind, server, &TcpPorts, events, failures).await).to_string()
    });
}

/// Says once that the file has changed. kube-proxy ends then, to be started again; here pods are
/// run by the same program, which should not end because somebody wrote a file.
pub(super) fn watch_file(path: Option<PathBuf>, tasks: &mut Tasks) {
    let Some(path) = path else { return };
    spawn(tasks, "proxy configuration", async move {
        let files = LinuxManifestFiles::new(path.as_path());
        let read = contents(&files).await;
        loop {
            files.changed().await;
            if contents(&files).await != read {
                break;
            }
        }
        tracing::warn!(
            path = %path.display(),
            "the proxy's configuration has changed; restart noded for it to count"
        );
        std::future::pending().await
    });
}

async fn contents(files: &LinuxManifestFiles) -> Option<Vec<ManifestFile>> {
    files.list().await.ok().flatten()
}

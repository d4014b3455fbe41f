//! The proxy part: settings, its credential, the feed, the loop.

use std::sync::Arc;

use netproxy::mode::{self, BackendKind, Detected};
use netproxy::{LocalTraffic, ProxyConfig, ProxyMode, ProxyStatus, ServiceChange};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::credential::{clock, proxy_credential, shared_credential};
use super::{Tasks, no_kubeconfig, spawn, spawn_with_end};
use crate::adapters::kube::{Identity, KubeApi, ProxyFeed};
use crate::adapters::linux::LinuxMachine;
use crate::cli::RunArguments;
use crate::config::AgentConfig;
use crate::config::load::load_proxy;
use crate::config::proxy::ProxySettings;
use crate::exit::{ExitReason, Fatal};
use crate::status::{DownAddresses, Readiness};
use crate::telemetry::Causes;

mod outside;

/// Changes on their way to the proxy. The feed waits when it is full, which slows the watch down
/// and loses nothing.
const CHANGES: usize = 1024;

/// Starts the proxy. Fails when its settings or its credential are wrong, or no iptables works.
/// `identity` is the node's client certificate, shared where the proxy has no kubeconfig of its
/// own.
pub(super) async fn start(
    arguments: &RunArguments,
    agent: &AgentConfig,
    readiness: &Readiness,
    identity: Option<Identity>,
    tasks: &mut Tasks,
) -> Result<(), Fatal> {
    let settings = load_proxy(arguments, &agent.node_name)
        .map_err(|error| Fatal::new(ExitReason::Configuration, Causes(&error).to_string()))?;
    let api = api_server(&settings, agent, identity, tasks)?;
    let mut config = settings.config;
    if config.node_ips.is_empty() {
        config.node_ips.clone_from(&agent.node_ips);
    }
    warn_of_missing_networks(&config);
    let Detected { chosen, mut backends, .. } =
        mode::detect(config.mode).await.map_err(|error| {
            let cause = Causes(&error);
            let mend = match config.mode {
                ProxyMode::Iptables => "install the package iptables",
                ProxyMode::Nftables => "set mode to iptables or auto in the proxy configuration",
                ProxyMode::Auto => "install the package nftables or iptables",
            };
            Fatal::new(
                ExitReason::Machine,
                format!("{cause}; {mend}, or leave the proxy out with --no-proxy"),
            )
        })?;
    tracing::info!(mode = %chosen.kind, reason = chosen.reason, "proxy");
    let mode = match chosen.kind {
        BackendKind::Iptables => ProxyMode::Iptables,
        BackendKind::Nftables => {
            config = config.in_nftables_mode();
            ProxyMode::Nftables
        }
    };
    let (changes, receiver) = mpsc::channel(CHANGES);
    let (status, shown) = watch::channel(ProxyStatus::default());
    let stop = CancellationToken::new();
    let counters = backends.counters.clone();
    backends.outside = outside::outside(agent, (mode, &config.node_name), &api, counters, tasks);
    let effective = settings.effective;
    outside::start_servers(&config, (mode, effective), &backends.outside, shown, tasks);
    outside::watch_file(arguments.proxy_config.clone(), tasks);
    spawn(tasks, "local endpoints", tell_local(readiness.down(), changes.clone()));
    let mut feed = ProxyFeed::new(api, changes);
    if mode == ProxyMode::Nftables {
        feed = feed.with_service_cidrs();
    }
    spawn(tasks, "proxy feed", feed.run());
    spawn_with_end(tasks, "proxy", async move {
        match netproxy::run(config, receiver, backends, status, stop).await {
            Ok(()) => "it was stopped".to_owned(),
            Err(error) => Causes(&error).to_string(),
        }
    });
    Ok(())
}

fn api_server(
    settings: &ProxySettings,
    agent: &AgentConfig,
    identity: Option<Identity>,
    tasks: &mut Tasks,
) -> Result<KubeApi, Fatal> {
    let (path, node_name) = (settings.kubeconfig.as_deref(), &settings.config.node_name);
    let path = path.ok_or_else(|| no_kubeconfig("--proxy-kubeconfig"))?;
    match identity {
        Some(identity) if agent.kubeconfig.as_deref() == Some(path) => {
            shared_credential(path, node_name, identity, tasks)
        }
        _ => {
            let machine = Arc::new(LinuxMachine::new(&agent.root_dir));
            proxy_credential(path, node_name, clock(machine), tasks)
        }
    }
}

/// Without the networks of pods nothing tells traffic of pods from that of others.
fn warn_of_missing_networks(config: &ProxyConfig) {
    if let LocalTraffic::ClusterCidrs(networks) = &config.local_traffic
        && networks.is_empty()
    {
        tracing::warn!(
            "clusterCIDR is not set: external traffic to Services with a Local policy, and what \
             comes from outside to cluster addresses, is not told from traffic of pods"
        );
    }
}

/// Tells the proxy which pods of this node take no traffic, ahead of the slices. Never returns
/// while both sides are there.
async fn tell_local(
    mut down: watch::Receiver<DownAddresses>,
    changes: mpsc::Sender<ServiceChange>,
) {
    while down.changed().await.is_ok() {
        let addresses = down.borrow_and_update().clone();
        if changes.send(ServiceChange::LocalDown(addresses)).await.is_err() {
            return;
        }
    }
    // Without a kubelet part there is nothing to tell, now or later.
    std::future::pending().await
}

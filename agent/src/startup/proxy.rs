//! The proxy part: settings, its credential, the feed, the loop.

use netproxy::{Backends, ProxyStatus};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Tasks, connect, spawn, spawn_with_end};
use crate::adapters::kube::ProxyFeed;
use crate::cli::RunArguments;
use crate::config::AgentConfig;
use crate::config::load::load_proxy;
use crate::exit::{ExitReason, Fatal};
use crate::telemetry::Causes;

/// Changes on their way to the proxy. The feed waits when it is full, which slows the watch down
/// and loses nothing.
const CHANGES: usize = 1024;

/// Starts the proxy. Fails when its settings or its credential are wrong, or no iptables works.
pub(super) async fn start(
    arguments: &RunArguments,
    agent: &AgentConfig,
    tasks: &mut Tasks,
) -> Result<(), Fatal> {
    let settings = load_proxy(arguments, &agent.node_name)
        .map_err(|error| Fatal::new(ExitReason::Configuration, Causes(&error).to_string()))?;
    let api = connect(settings.kubeconfig.as_deref(), "--proxy-kubeconfig", &agent.node_name)?;
    let mut config = settings.config;
    if config.node_ips.is_empty() {
        config.node_ips.clone_from(&agent.node_ips);
    }
    let backends = Backends::detect().await.map_err(|error| {
        let cause = Causes(&error);
        Fatal::new(
            ExitReason::Machine,
            format!(
                "{cause}; install the package iptables, or leave the proxy out with --no-proxy"
            ),
        )
    })?;
    let (changes, receiver) = mpsc::channel(CHANGES);
    let (status, _) = watch::channel(ProxyStatus::default());
    let stop = CancellationToken::new();
    spawn(tasks, "proxy feed", ProxyFeed::new(api, changes).run());
    spawn_with_end(tasks, "proxy", async move {
        match netproxy::run(config, receiver, backends, status, stop).await {
            Ok(()) => "it was stopped".to_owned(),
            Err(error) => Causes(&error).to_string(),
        }
    });
    Ok(())
}

//! Builds adapters, channels and tasks in order; then only waits.
//!
//! A task that ends unexpectedly ends the process, and systemd starts it again. That is safe,
//! because everything is rebuilt from the API, the runtime and the kernel.

mod credential;
pub(crate) mod kubelet;
mod logs;
mod pods;
mod proxy;
mod server;
mod signed_certificate;
mod static_pods;
mod stats;
mod streams;
mod user_namespaces;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use kubelet::Told;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::adapters::kube::{ConnectError, KubeApi, Kubeconfig};
use crate::adapters::linux::{Systemd, allocator};
use crate::boundary::Supervisor;
use crate::cli::{Parts, RunArguments};
use crate::exit::{ExitReason, Fatal};
use crate::liveness::{Liveness, ServiceTask, WatchdogTask};
use crate::status::Readiness;
use crate::telemetry::{Causes, LogVerbosity};

/// The tasks of the daemon. Each promises never to end; the value says how it did.
type Tasks = JoinSet<(&'static str, String)>;

/// Runs the daemon until it is told to stop (SIGTERM, SIGINT), which leaves all pods running, or
/// until something fails that only a restart can mend.
pub fn run(arguments: RunArguments, verbosity: LogVerbosity) -> anyhow::Result<()> {
    allocator::limit_arenas();
    if !nix::unistd::geteuid().is_root() {
        let message = "noded must run as root: it makes cgroups, mounts and iptables rules";
        return Err(Fatal::new(ExitReason::Machine, message).into());
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| Fatal::new(ExitReason::Unexpected, "a second TLS provider is installed"))?;
    // Two workers carry any node; blocking work is short file and netlink calls.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_name("noded")
        .enable_all()
        .build()?;
    let result = runtime.block_on(daemon(arguments, verbosity));
    runtime.shutdown_background();
    result
}

async fn daemon(arguments: RunArguments, verbosity: LogVerbosity) -> anyhow::Result<()> {
    let mut tasks = Tasks::new();
    let hostname = kubelet::hostname(&arguments)?;
    let (config, without_effect) = crate::config::load::load_agent(&arguments, hostname)
        .map_err(|error| Fatal::new(ExitReason::Configuration, Causes(&error).to_string()))?;
    let config = Arc::new(config);
    if !without_effect.is_empty() {
        let fields = without_effect.join(", ");
        tracing::warn!(fields, "configuration fields are accepted and have no effect yet");
    }
    tracing::info!(node = config.node_name, version = env!("CARGO_PKG_VERSION"), "starting");
    let readiness = Readiness::default();
    let liveness = Liveness::default();
    // The first task, because a start may take as long as it likes and is no hang.
    let watchdog = WatchdogTask::new(Arc::new(Systemd), liveness.clone());
    spawn(&mut tasks, "watchdog", watchdog.run());
    let started = match arguments.parts {
        Parts::ProxyOnly => None,
        _ => {
            let told = Told { readiness: readiness.clone(), verbosity, liveness };
            Some(kubelet::start(&config, &arguments, told, &mut tasks).await?)
        }
    };
    let (identity, facts) = started.map_or((None, None), |it| (it.identity, Some(it.facts)));
    if arguments.parts != Parts::KubeletOnly && !is_standalone(&arguments) {
        proxy::start(&arguments, &config, &readiness, identity, &mut tasks).await?;
    }
    spawn(&mut tasks, "memory trim", trim_memory());
    match facts {
        Some(facts) => {
            let service = ServiceTask::new(Arc::new(Systemd), facts);
            spawn(&mut tasks, "service state", service.run());
        }
        None => Systemd.ready(),
    }
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = tasks.join_next() => ended,
    };
    Systemd.stopping();
    match ended {
        None => {
            tracing::info!("stopping; pods keep running");
            Ok(())
        }
        Some(Ok((name, how))) => Err(anyhow::anyhow!("{name} ended unexpectedly: {how}")),
        Some(Err(error)) => Err(anyhow::anyhow!("a task failed: {error}")),
    }
}

/// Whether this node has no API server: only static pods run and no Services are programmed. A
/// proxy alone needs one in any case.
fn is_standalone(arguments: &RunArguments) -> bool {
    arguments.parts != Parts::ProxyOnly
        && arguments.kubeconfig.is_none()
        && arguments.bootstrap_kubeconfig.is_none()
        && arguments.proxy_kubeconfig.is_none()
        && arguments.proxy_config.is_none()
}

/// Adds a task that should run for ever.
fn spawn(tasks: &mut Tasks, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        task.await;
        (name, "it returned".to_owned())
    });
}

/// Adds a task that says why it ended.
fn spawn_with_end<E: std::fmt::Display>(
    tasks: &mut Tasks,
    name: &'static str,
    task: impl Future<Output = E> + Send + 'static,
) {
    tasks.spawn(async move { (name, task.await.to_string()) });
}

/// The API server as the kubeconfig at `path` lets this node use it. `flag` is the flag to name
/// when it is missing.
pub(crate) fn connect(path: Option<&Path>, flag: &str, node_name: &str) -> Result<KubeApi, Fatal> {
    let path = path.ok_or_else(|| no_kubeconfig(flag))?;
    let kubeconfig = Kubeconfig::load(path)
        .map_err(|error| Fatal::new(ExitReason::Credentials, Causes(&error).to_string()))?;
    KubeApi::connect(&kubeconfig, node_name).map_err(|error| unusable(path, &error))
}

fn no_kubeconfig(flag: &str) -> Fatal {
    let message = format!("no kubeconfig is given; point {flag} to the credential of this node");
    Fatal::new(ExitReason::Credentials, message)
}

fn unusable(path: &Path, error: &ConnectError) -> Fatal {
    let message = format!("kubeconfig {} cannot be used: {}", path.display(), Causes(error));
    Fatal::new(ExitReason::Credentials, message)
}

/// Gives memory back that the first lists needed for a moment, and then what piled up.
async fn trim_memory() {
    let mut wait = std::time::Duration::from_secs(10);
    loop {
        tokio::time::sleep(wait).await;
        let _ = tokio::task::spawn_blocking(allocator::give_back).await;
        wait = std::time::Duration::from_secs(300);
    }
}

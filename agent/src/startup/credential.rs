//! The credentials for the API server: the one that is there, or one obtained with the bootstrap
//! credential, followed when its files change and renewed in time.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Tasks, connect, spawn, spawn_with_end};
use crate::adapters::kube::{Identity, KubeApi, Kubeconfig};
use crate::adapters::linux::credential_files::CredentialFiles;
use crate::adapters::linux::{LinuxMachine, Systemd};
use crate::boundary::{CsrApi, Machine};
use crate::certificates::{
    Bootstrap, CertificateParts, CertificateTask, ConnectBootstrap, Purpose, Renewal, Sources,
    Wanted, execute,
};
use crate::cli::RunArguments;
use crate::config::AgentConfig;
use crate::exit::{ExitReason, Fatal};
use crate::metrics::NodeMetrics;
use crate::node::jitter;
use crate::podworker::WallClock;
use crate::telemetry::Causes;

/// How often systemd is told that waiting for approval is no hang...
const PATIENCE_INTERVAL: Duration = Duration::from_secs(30);
/// ...and how much time it is asked for each time, in microseconds.
const PATIENCE_MICROSECONDS: u32 = 90_000_000;

/// The API server under one credential.
pub(super) struct Credential {
    pub api: KubeApi,
    /// The client certificate of the moment.
    pub identity: Identity,
}

/// A kubeconfig and how its client certificate is kept.
struct Kept<'a> {
    path: &'a Path,
    node_name: &'a str,
    sources: Sources,
    /// Where new ones go and the way in without a good one; `None`: others renew it.
    renewal: Option<(CredentialFiles, Option<ConnectBootstrap>)>,
    /// `None`: nobody counts the requests.
    metrics: Option<&'a NodeMetrics>,
    clock: WallClock,
}

/// The API server as the node may use it; `None` when no kubeconfig is given, which is standalone
/// mode. With a bootstrap kubeconfig and without a usable one of the node's own, obtains that
/// first, however long it takes.
pub(super) async fn node_credential(
    config: &AgentConfig,
    arguments: &RunArguments,
    metrics: &NodeMetrics,
    tasks: &mut Tasks,
) -> Result<Option<Credential>, Fatal> {
    let bootstrap = arguments.bootstrap_kubeconfig.as_deref();
    let own = match (config.kubeconfig.as_deref(), bootstrap) {
        (None, None) => return Ok(None),
        (own, _) => own.ok_or_else(|| super::no_kubeconfig("--kubeconfig"))?,
    };
    let machine = Arc::new(LinuxMachine::new(&config.root_dir));
    let files = CredentialFiles::new(&config.certificates.dir, Purpose::Client.file_prefix());
    let sources = Sources {
        files: config.certificates.rotate_client.then(|| files.clone()),
        kubeconfig: Some(own.to_owned()),
    };
    if let Some(bootstrap) = bootstrap
        && let Some(why) = unusable(own, &sources, machine.now())
    {
        tracing::info!("{why}; obtaining a credential with {}", bootstrap.display());
        let order = Bootstrap {
            node_name: config.node_name.clone(),
            cert_dir: config.certificates.dir.clone(),
            kubeconfig: own.to_owned(),
        };
        tokio::select! {
            obtained = obtain(&order, bootstrap, &machine) => obtained?,
            never = ask_for_patience() => match never {},
        }
    }
    let kubeconfig = load(own).map_err(|fatal| match bootstrap {
        Some(_) => fatal,
        None => Fatal::new(
            fatal.reason,
            format!("{fatal}; mend it, or give --bootstrap-kubeconfig to obtain another"),
        ),
    })?;
    let rotate = config.certificates.rotate_client && kubeconfig.certificate().is_some();
    if config.certificates.rotate_client && !rotate {
        tracing::info!("rotateCertificates has no effect: the kubeconfig holds no certificate");
    }
    let renewal = rotate.then(|| (files, bootstrap.map(|path| reconnect(path, config))));
    let kept = Kept {
        path: own,
        node_name: &config.node_name,
        sources,
        renewal,
        metrics: Some(metrics),
        clock: clock(machine),
    };
    follow(&kubeconfig, kept, tasks).map(Some)
}

/// The API server as the kubeconfig at `path` lets the node's proxy use it.
pub(super) fn proxy_credential(
    path: &Path,
    node_name: &str,
    clock: WallClock,
    tasks: &mut Tasks,
) -> Result<KubeApi, Fatal> {
    let sources = Sources { files: None, kubeconfig: Some(path.to_owned()) };
    let kubeconfig = load(path)?;
    // The proxy's requests are none of the kubelet's, whose page shows them.
    let kept = Kept { path, node_name, sources, renewal: None, metrics: None, clock };
    Ok(follow(&kubeconfig, kept, tasks)?.api)
}

/// Another connection for the node's proxy, under the node's own credential.
pub(super) fn shared_credential(
    path: &Path,
    node_name: &str,
    identity: Identity,
    tasks: &mut Tasks,
) -> Result<KubeApi, Fatal> {
    let kubeconfig = load(path)?;
    let api = KubeApi::connect_as(&kubeconfig, node_name, identity.clone(), None)
        .map_err(|error| super::unusable(path, &error))?;
    spawn(tasks, "proxy connections", api.clone().follow_identity(identity));
    Ok(api)
}

pub(super) fn clock(machine: Arc<LinuxMachine>) -> WallClock {
    Arc::new(move || machine.now())
}

fn load(path: &Path) -> Result<Kubeconfig, Fatal> {
    Kubeconfig::load(path)
        .map_err(|error| Fatal::new(ExitReason::Credentials, Causes(&error).to_string()))
}

/// Connects, and keeps the client certificate the one of the files, renewing it if wanted.
fn follow(kubeconfig: &Kubeconfig, kept: Kept<'_>, tasks: &mut Tasks) -> Result<Credential, Fatal> {
    let (publication, identity) = watch::channel(None);
    let counted = kept.metrics.map(|metrics| metrics.api.clone());
    let api = KubeApi::connect_as(kubeconfig, kept.node_name, identity.clone(), counted)
        .map_err(|error| super::unusable(kept.path, &error))?;
    // Only a node renews by itself, and its name never changes.
    let wanted = kept.renewal.is_some().then(|| Wanted::client(kept.node_name));
    let renewal = kept.renewal.zip(kept.metrics).map(|((files, bootstrap), metrics)| Renewal {
        files,
        api: Arc::new(api.clone()),
        bootstrap,
        metrics: metrics.certificates.clone(),
    });
    let task = CertificateTask::new(CertificateParts {
        purpose: Purpose::Client,
        sources: kept.sources,
        renewal,
        wanted: watch::channel(wanted).1,
        publication,
        clock: kept.clock,
        random: jitter::fraction,
    });
    spawn_with_end(tasks, "client certificate", task.run());
    spawn(tasks, "API connections", api.clone().follow_identity(identity.clone()));
    Ok(Credential { api, identity })
}

/// Connects with the bootstrap credential as it is then.
fn reconnect(path: &Path, config: &AgentConfig) -> ConnectBootstrap {
    let (path, node_name) = (path.to_owned(), config.node_name.clone());
    Box::new(move || {
        connect(Some(&path), "--bootstrap-kubeconfig", &node_name)
            .map(|api| Arc::new(api) as Arc<dyn CsrApi>)
            .map_err(|error| error.to_string())
    })
}

/// Why the node's own kubeconfig cannot be used; `None` when it can.
fn unusable(own: &Path, sources: &Sources, now: Timestamp) -> Option<String> {
    if !own.exists() {
        return Some(format!("there is no kubeconfig {}", own.display()));
    }
    if let Err(error) = Kubeconfig::load(own) {
        return Some(Causes(&error).to_string());
    }
    let best = sources.best(now)?;
    let (end, file) = (best.facts.not_after, best.origin.display());
    (end < now).then(|| format!("the certificate of {file} ended at {end}"))
}

async fn obtain(order: &Bootstrap, bootstrap: &Path, machine: &LinuxMachine) -> Result<(), Fatal> {
    let kubeconfig = load(bootstrap)?;
    let api = connect(Some(bootstrap), "--bootstrap-kubeconfig", &order.node_name)?;
    execute(order, &api, |pem| kubeconfig.text_with_certificate(pem), || machine.now())
        .await
        .map_err(|error| Fatal::new(ExitReason::Credentials, Causes(&error).to_string()))
}

/// Keeps a start that waits for a person from being ended by systemd.
async fn ask_for_patience() -> Infallible {
    loop {
        Systemd.extend_start(PATIENCE_MICROSECONDS);
        tokio::time::sleep(PATIENCE_INTERVAL).await;
    }
}

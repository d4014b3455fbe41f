//! The kubelet server: its routes from the slices, who may use them, its certificate, then the
//! ports.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::kubelet::Ground;
use super::{Tasks, spawn};
use crate::adapters::Standalone;
use crate::adapters::linux::log_watch::LogWatch;
use crate::adapters::linux::{Journal, SystemLogs, Threads, WatchedFiles, root_dir, serving_files};
use crate::boundary::{AuthnApi, Machine};
use crate::cli::RunArguments;
use crate::config::{AgentConfig, AuthorizationMode, CertificatePaths, Handlers};
use crate::exit::{ExitReason, Fatal};
use crate::server::authenticate::Authenticator;
use crate::server::authorize::Authorizer;
use crate::server::checkpoint::{self, CheckpointParts};
use crate::server::profile::{self, ProfileParts};
use crate::server::reviews::{AccessReviews, TokenReviews};
use crate::server::route::{Route, RouteTable};
use crate::server::serve::{
    Callers, Dispatcher, Gate, RequestMetrics, serve_read_only, serve_secure,
};
use crate::server::tls::{ClientAuthority, ServerTls, certified_key, self_signed};
use crate::server::zpages::{self, Program};
use crate::server::{
    ClientAuthorities, NodePods, ServingCertificate, configz, debug_flags, health, metrics_pages,
    node_logs, pod_list, running_pods, stats,
};
use crate::stats::StatsHandle;
use crate::telemetry::{Causes, LogVerbosity};

#[cfg(test)]
mod tests;

/// Between a change beside certificate files and reading them: certificate and key are two files,
/// and are seldom written at one moment.
const SETTLE: Duration = Duration::from_millis(200);

/// What handlers answer from.
pub(super) struct ServerParts<'a> {
    pub ground: &'a Ground,
    pub arguments: &'a RunArguments,
    pub pods: NodePods,
    pub pleg_health: watch::Receiver<Option<String>>,
    /// `None` where the cluster signs none.
    pub signed_certificate: Option<ServingCertificate>,
    pub stats: StatsHandle,
    /// `None` where the kernel gives no more inotify instances.
    pub log_watch: Option<LogWatch>,
    pub verbosity: LogVerbosity,
}

/// The routes of all slices, a line each.
fn routes(config: &AgentConfig, parts: &ServerParts<'_>) -> Vec<Route> {
    let metrics = &parts.ground.metrics;
    let mut routes = [
        health::routes(parts.pleg_health.clone(), metrics.health.clone()),
        pod_list::routes(parts.pods.clone()),
        metrics_pages::routes(metrics, parts.pods.clone(), parts.ground.clock()),
        stats::routes(&parts.stats),
        debugging(config, parts),
        super::logs::routes(config, parts),
        super::streams::routes(parts),
    ]
    .concat();
    if config.server.handlers == Handlers::All {
        let more = known_only_with_debugging(config, parts);
        routes.extend(more);
        let pages = zpages::routes(program(config, parts), &routes);
        routes.extend(pages);
    }
    routes
}

/// Pages that say that they are disabled when handlers for debugging are.
fn debugging(config: &AgentConfig, parts: &ServerParts<'_>) -> Vec<Route> {
    let pages = &config.pages;
    let profile = ProfileParts { threads: Threads::default(), clock: parts.ground.clock() };
    [
        running_pods::routes(parts.pods.clone()),
        node_logs::routes(pages.system_logs, SystemLogs::default(), Journal),
        profile::routes(pages.profiling, profile),
    ]
    .concat()
}

/// Pages that upstream does not know at all then.
fn known_only_with_debugging(config: &AgentConfig, parts: &ServerParts<'_>) -> Vec<Route> {
    let checkpoint = CheckpointParts {
        pods: parts.pods.clone(),
        runtime: Arc::new(parts.ground.runtime.clone()),
        directory: root_dir::checkpoints(&config.root_dir),
        clock: parts.ground.clock(),
    };
    [
        configz::routes(&config.effective),
        checkpoint::routes(config.pages.checkpoint, checkpoint),
        debug_flags::routes(config.pages.debug_flags, parts.verbosity.clone()),
    ]
    .concat()
}

fn program(config: &AgentConfig, parts: &ServerParts<'_>) -> Program {
    let clock = parts.ground.clock();
    Program {
        flags: parts.arguments.shown(&config.effective),
        started: clock(),
        kubernetes_version: config.kubelet_version.clone(),
        own_version: env!("CARGO_PKG_VERSION"),
        clock,
    }
}

/// Who counts the requests.
fn request_metrics(parts: &ServerParts<'_>) -> Option<Arc<dyn RequestMetrics>> {
    Some(Arc::new(parts.ground.metrics.server.clone()))
}

/// Starts answering on the kubelet server's ports. Fails when a port is taken, or a file that the
/// configuration names cannot be used.
pub(super) async fn start(
    config: &AgentConfig,
    parts: &ServerParts<'_>,
    tasks: &mut Tasks,
) -> Result<(), Fatal> {
    let server = &config.server;
    if !server.enabled {
        return Ok(());
    }
    let table = RouteTable::new(routes(config, parts));
    let metrics = request_metrics(parts);
    if let Some(port) = server.read_only_port {
        let listener = bind(SocketAddr::new(server.address, port), "readOnlyPort").await?;
        let gate = Gate::ReadOnly;
        let dispatcher = Dispatcher::new(table.clone(), gate, server.handlers, metrics.clone());
        spawn(tasks, "read-only port", serve_read_only(listener, Arc::new(dispatcher)));
    }
    if !server.tls.left_out.is_empty() {
        let suites = server.tls.left_out.join(", ");
        tracing::warn!(suites, "tlsCipherSuites: these are too weak to be offered");
    }
    if server.authentication.anonymous && server.authorization == AuthorizationMode::AlwaysAllow {
        tracing::warn!(
            "the kubelet server lets everybody do everything: set authentication.anonymous.enabled \
             to false or authorization.mode to Webhook"
        );
    }
    if server.authentication.client_ca_file.is_none() && parts.ground.api.is_some() {
        tracing::warn!(
            "no client certificate is trusted, so the API server cannot fetch logs or run commands: \
             set authentication.x509.clientCAFile to the authority of its kubelet client certificate"
        );
    }
    let certificate = serving_certificate(config, parts, tasks)?;
    let authorities = client_authorities(config, tasks)?;
    let gate = gate(config, parts, authorities.clone());
    let tls = ServerTls::new(server.tls.clone(), certificate, authorities)
        .map_err(|error| configuration(Causes(&error)))?;
    let listener = bind(SocketAddr::new(server.address, config.port), "port").await?;
    let dispatcher = Dispatcher::new(table, gate, server.handlers, metrics);
    spawn(tasks, "kubelet server", serve_secure(listener, tls, Arc::new(dispatcher)));
    Ok(())
}

fn configuration(problem: impl std::fmt::Display) -> Fatal {
    Fatal::new(ExitReason::Configuration, format!("configuration is not usable: {problem}"))
}

async fn bind(address: SocketAddr, field: &str) -> Result<TcpListener, Fatal> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = format!("is another kubelet running? change {field} or address");
        Fatal::new(ExitReason::Machine, format!("cannot listen on {address}: {error}; {hint}"))
    })
}

/// Who callers are and what they may do. Without an API server no token is known and nobody's
/// rights are.
fn gate(
    config: &AgentConfig,
    parts: &ServerParts<'_>,
    authorities: Option<ClientAuthorities>,
) -> Gate {
    let api: Arc<dyn AuthnApi> = match &parts.ground.api {
        Some(api) => Arc::new(api.clone()),
        None => Arc::new(Standalone),
    };
    let authentication = &config.server.authentication;
    let tokens = authentication.token_ttl.map(|ttl| TokenReviews::new(Arc::clone(&api), ttl));
    let reviews = match config.server.authorization {
        AuthorizationMode::AlwaysAllow => None,
        AuthorizationMode::Webhook { authorized_ttl, unauthorized_ttl } => {
            Some(AccessReviews::new(api, (authorized_ttl, unauthorized_ttl)))
        }
    };
    Gate::Secure(Box::new(Callers {
        authenticator: Authenticator {
            authorities,
            tokens,
            anonymous: authentication.anonymous,
            clock: parts.ground.clock(),
        },
        authorizer: Authorizer { reviews, node_name: config.node_name.clone() },
    }))
}

/// The certificate of the configured files, else the one that the cluster signs, else a self-signed
/// one in the certificate directory; followed when it changes.
fn serving_certificate(
    config: &AgentConfig,
    parts: &ServerParts<'_>,
    tasks: &mut Tasks,
) -> Result<ServingCertificate, Fatal> {
    let paths = match (&config.server.certificate, &parts.signed_certificate) {
        (Some(paths), _) => paths.clone(),
        (None, Some(signed)) => return Ok(signed.clone()),
        (None, None) => own_certificate(config, parts)?,
    };
    let CertificatePaths { certificate, key } = paths;
    let what = format!("serving certificate {} with {}", certificate.display(), key.display());
    follow(vec![certificate, key], what, parse_pair, tasks, "serving certificate")
}

fn parse_pair(texts: &[Vec<u8>]) -> Result<Option<Arc<rustls::sign::CertifiedKey>>, String> {
    let [certificate, key] = texts else { return Err("two files are needed".to_owned()) };
    certified_key(certificate, key).map(Some).map_err(|error| Causes(&error).to_string())
}

/// The self-signed certificate, made when there is none yet.
fn own_certificate(
    config: &AgentConfig,
    parts: &ServerParts<'_>,
) -> Result<CertificatePaths, Fatal> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        let words = format!("no certificate for the kubelet server: {}", Causes(error));
        Fatal::new(ExitReason::Machine, words)
    };
    let paths = serving_files::paths(&config.certificates.dir);
    if !serving_files::exist(&paths).map_err(|error| failed(&error))? {
        let ips = &parts.ground.facts.host_ips;
        let now = parts.ground.machine.now();
        let pair = self_signed::self_signed(&config.node_name, ips, now)
            .map_err(|error| failed(&error))?;
        serving_files::store(&paths, &pair.certificate, &pair.key)
            .map_err(|error| failed(&error))?;
        tracing::info!(path = %paths.certificate.display(), "made a self-signed certificate");
    }
    Ok(paths)
}

/// The authorities of `authentication.x509.clientCAFile`, followed when the file changes.
fn client_authorities(
    config: &AgentConfig,
    tasks: &mut Tasks,
) -> Result<Option<ClientAuthorities>, Fatal> {
    let Some(path) = &config.server.authentication.client_ca_file else { return Ok(None) };
    let what = format!("authentication.x509.clientCAFile {}", path.display());
    let parse = |texts: &[Vec<u8>]| {
        let pem = texts.first().map(Vec::as_slice).unwrap_or_default();
        let parsed = ClientAuthority::parse(pem).map(Arc::new);
        parsed.map_err(|error| Causes(&error).to_string())
    };
    follow(vec![path.clone()], what, parse, tasks, "client authorities").map(Some)
}

/// What the files hold now, which must be good, and what they hold after each change, as far as
/// that is good; what is not is told once and changes nothing.
fn follow<T: Send + Sync + 'static>(
    paths: Vec<PathBuf>,
    what: String,
    parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + 'static,
    tasks: &mut Tasks,
    name: &'static str,
) -> Result<watch::Receiver<T>, Fatal> {
    let mut files = WatchedFiles::new(paths);
    let mut texts =
        files.read().map_err(|error| configuration(format!("{what}: {}", Causes(&error))))?;
    let first = parse(&texts).map_err(|problem| configuration(format!("{what}: {problem}")))?;
    let (sender, receiver) = watch::channel(first);
    spawn(tasks, name, async move {
        let mut told = None;
        loop {
            files.changed().await;
            tokio::time::sleep(SETTLE).await;
            let found = files.read().map_err(|error| Causes(&error).to_string());
            let parsed = found.and_then(|found| {
                if found == texts {
                    return Ok(None);
                }
                parse(&found).map(|parsed| Some((found, parsed)))
            });
            match parsed {
                Ok(None) => told = None,
                Ok(Some((found, parsed))) => {
                    (texts, told) = (found, None);
                    sender.send_replace(parsed);
                    tracing::info!("{what} changed and is in use");
                }
                Err(problem) if told.as_ref() != Some(&problem) => {
                    tracing::warn!(
                        problem,
                        "{what} changed and is not usable; going on with the one before"
                    );
                    told = Some(problem);
                }
                Err(_) => {}
            }
        }
    });
    Ok(receiver)
}

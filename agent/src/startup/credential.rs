//! The node's own credential: the one that is there, or one obtained with the bootstrap credential.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use sd_notify::NotifyState;

use super::connect;
use crate::adapters::kube::{KubeApi, Kubeconfig};
use crate::adapters::linux::LinuxMachine;
use crate::bootstrap::{Bootstrap, execute, not_after};
use crate::boundary::Machine;
use crate::cli::RunArguments;
use crate::config::AgentConfig;
use crate::exit::{ExitReason, Fatal};
use crate::telemetry::Causes;

/// How often systemd is told that waiting for approval is no hang...
const PATIENCE_INTERVAL: Duration = Duration::from_secs(30);
/// ...and how much time it is asked for each time, in microseconds.
const PATIENCE_MICROSECONDS: u32 = 90_000_000;

/// The API server as the node may use it. With a bootstrap kubeconfig and without a usable one of
/// the node's own, obtains that first, however long it takes.
pub(super) async fn node_api(
    config: &AgentConfig,
    arguments: &RunArguments,
) -> Result<KubeApi, Fatal> {
    let own = config.kubeconfig.as_deref();
    if let (Some(own), Some(bootstrap)) = (own, arguments.bootstrap_kubeconfig.as_deref()) {
        let machine = LinuxMachine::new(&config.root_dir);
        if let Some(why) = unusable(own, machine.now()) {
            tracing::info!("{why}; obtaining a credential with {}", bootstrap.display());
            let order = Bootstrap {
                node_name: config.node_name.clone(),
                cert_dir: arguments.cert_dir.clone().unwrap_or_else(|| config.root_dir.join("pki")),
                kubeconfig: own.to_owned(),
            };
            tokio::select! {
                obtained = obtain(&order, bootstrap, &machine) => obtained?,
                never = ask_for_patience() => match never {},
            }
        }
    }
    connect(own, "--kubeconfig", &config.node_name)
}

/// Why the node's own kubeconfig cannot be used; `None` when it can.
fn unusable(own: &Path, now: Timestamp) -> Option<String> {
    if !own.exists() {
        return Some(format!("there is no kubeconfig {}", own.display()));
    }
    let kubeconfig = match Kubeconfig::load(own) {
        Ok(kubeconfig) => kubeconfig,
        Err(error) => return Some(Causes(&error).to_string()),
    };
    let end = not_after(kubeconfig.certificate()?)?;
    (end < now).then(|| format!("the certificate of kubeconfig {} ended at {end}", own.display()))
}

async fn obtain(order: &Bootstrap, bootstrap: &Path, machine: &LinuxMachine) -> Result<(), Fatal> {
    let fatal = |message: String| Fatal::new(ExitReason::Credentials, message);
    let kubeconfig =
        Kubeconfig::load(bootstrap).map_err(|error| fatal(Causes(&error).to_string()))?;
    let api = connect(Some(bootstrap), "--bootstrap-kubeconfig", &order.node_name)?;
    execute(order, &api, |pem| kubeconfig.text_with_certificate(pem), || machine.now())
        .await
        .map_err(|error| fatal(Causes(&error).to_string()))
}

/// Keeps a start that waits for a person from being ended by systemd.
async fn ask_for_patience() -> Infallible {
    loop {
        let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(PATIENCE_MICROSECONDS)]);
        tokio::time::sleep(PATIENCE_INTERVAL).await;
    }
}

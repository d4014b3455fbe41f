//! Puts the configuration together: files, flags and the host name.

use std::path::PathBuf;

use super::AgentConfig;
use super::file::{FileError, decode_kubelet, merge, read_object, read_with_drop_ins};
use super::proxy::{ProxySettings, decode_proxy};
use super::resolve::{Surroundings, resolve};
use crate::cli::RunArguments;

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] FileError),
    /// Every problem found, one to a line.
    #[error("configuration is not usable: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// The kubelet part's configuration, and the names of accepted fields that have no effect.
pub fn load_agent(
    arguments: &RunArguments,
    hostname: String,
) -> Result<(AgentConfig, Vec<String>), ConfigError> {
    let mut object =
        read_with_drop_ins(arguments.config.as_deref(), arguments.config_dir.as_deref())?;
    merge(&mut object, arguments.overlay.clone());
    let named = arguments.config.clone().unwrap_or_else(|| PathBuf::from("command line"));
    let wire = decode_kubelet(&named, object)?;
    let without_effect = wire.unused.keys().cloned().collect();
    let around = Surroundings {
        hostname,
        hostname_override: arguments.hostname_override.clone(),
        node_ips: arguments.node_ips.clone(),
        root_dir: arguments.root_dir.clone(),
        kubeconfig: arguments.kubeconfig.clone(),
        node_labels: arguments.node_labels.clone(),
        external_cloud_provider: arguments.cloud_provider.as_deref() == Some("external"),
        kubelet_version: arguments.kubelet_version.clone(),
        container_logs_dir: arguments.container_logs_dir.clone(),
    };
    let config = resolve(wire, around).map_err(ConfigError::Invalid)?;
    Ok((config, without_effect))
}

/// The proxy part's settings; kube-proxy's defaults when no file is given. `--proxy-kubeconfig`
/// wins over the file's own, and without either the node's credential serves.
pub fn load_proxy(arguments: &RunArguments, node_name: &str) -> Result<ProxySettings, ConfigError> {
    let mut settings = match &arguments.proxy_config {
        Some(path) => decode_proxy(path, read_object(path)?, node_name)?,
        None => ProxySettings::defaults(node_name),
    };
    let own = arguments.proxy_kubeconfig.clone().or(settings.kubeconfig.take());
    settings.kubeconfig = own.or_else(|| arguments.kubeconfig.clone());
    Ok(settings)
}

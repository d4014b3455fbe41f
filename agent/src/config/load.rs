//! Puts the configuration together: files, flags and the host name.

use std::path::PathBuf;

use serde_json::Value;

use super::AgentConfig;
use super::credential_providers::{self, ProvidersError};
use super::effective::{effective, name_own_certificate};
use super::file::{FileError, decode_kubelet, merge, read_object, read_with_drop_ins};
use super::pages::gates_without_effect;
use super::proxy::{ProxySettings, decode_proxy};
use super::resolve::{Surroundings, resolve};
use crate::cli::{Parts, RunArguments};

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
    let mut shown = effective(&object, arguments.verbosity);
    let root = arguments.root_dir.clone().unwrap_or_else(|| "/var/lib/kubelet".into());
    let certificates = arguments.cert_dir.clone().unwrap_or_else(|| root.join("pki"));
    name_own_certificate(&mut shown, &certificates);
    let wire = decode_kubelet(&named, object)?;
    let mut without_effect: Vec<String> = wire.unused.keys().cloned().collect();
    without_effect.extend(wire.feature_gates.iter().flat_map(gates_without_effect));
    let providers = credential_providers::load(
        arguments.image_credential_provider_config.as_deref(),
        arguments.image_credential_provider_bin_dir.as_deref(),
    );
    let (credential_providers, mut problems) = match providers {
        Ok(providers) => (providers, Vec::new()),
        Err(ProvidersError::File(error)) => return Err(error.into()),
        Err(ProvidersError::Invalid(problems)) => (Vec::new(), problems),
    };
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
        dead_containers: arguments.dead_containers.clone(),
        credential_providers,
        cert_dir: arguments.cert_dir.clone(),
        effective: shown,
    };
    match resolve(wire, around) {
        Ok(config) if problems.is_empty() => Ok((config, without_effect)),
        Ok(_) => Err(ConfigError::Invalid(problems)),
        Err(others) => {
            problems.extend(others);
            Err(ConfigError::Invalid(problems))
        }
    }
}

/// The proxy part's settings; kube-proxy's defaults when no file is given. `--proxy-kubeconfig`
/// wins over the file's own, and without either the node's credential serves. The file may name
/// the node when no kubelet part does.
pub fn load_proxy(arguments: &RunArguments, node_name: &str) -> Result<ProxySettings, ConfigError> {
    let mut settings = match &arguments.proxy_config {
        Some(path) => {
            let object = read_object(path)?;
            let alone =
                arguments.parts == Parts::ProxyOnly && arguments.hostname_override.is_none();
            let named = object.get("hostnameOverride").and_then(Value::as_str);
            let named = named.map(|name| name.trim().to_lowercase());
            let named = named.filter(|name| alone && !name.is_empty());
            decode_proxy(path, object, named.as_deref().unwrap_or(node_name))?
        }
        None => ProxySettings::defaults(node_name),
    };
    let own = arguments.proxy_kubeconfig.clone().or(settings.kubeconfig.take());
    settings.kubeconfig = own.or_else(|| arguments.kubeconfig.clone());
    Ok(settings)
}

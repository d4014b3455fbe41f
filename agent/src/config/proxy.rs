//! The proxy part's configuration: the file is read by `netproxy`, the rest is decided here.

use std::path::{Path, PathBuf};

use netproxy::config::ProxyConfig;
use netproxy::config::file::KubeProxyConfiguration;
use serde_json::{Map, Value};

use super::file::{FileError, decode};

#[cfg(test)]
mod tests;

/// What the proxy part runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxySettings {
    pub config: ProxyConfig,
    /// Credential of its own, from `clientConnection.kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
}

impl ProxySettings {
    /// What runs without a file: kube-proxy's defaults (v1.36).
    pub fn defaults(node_name: &str) -> Self {
        Self { config: ProxyConfig::new(node_name), kubeconfig: None }
    }
}

/// The settings in a KubeProxyConfiguration object; an error names the field. Its
/// `hostnameOverride` counts only without a kubelet part, whose node name is then unknown.
pub fn decode_proxy(
    path: &Path,
    object: Map<String, Value>,
    node_name: &str,
) -> Result<ProxySettings, FileError> {
    let content = |problem| FileError::Content { path: path.to_owned(), problem };
    let file: KubeProxyConfiguration = decode(object).map_err(content)?;
    match file.mode.as_deref() {
        None | Some("" | "iptables") => {}
        Some(other) => {
            return Err(content(format!("mode: \"{other}\" is not supported; use iptables")));
        }
    }
    let config = file.proxy_config(node_name).map_err(|problems| {
        let texts: Vec<String> =
            problems.iter().map(|problem| crate::telemetry::Causes(problem).to_string()).collect();
        content(texts.join("; "))
    })?;
    let own = file.client_connection.and_then(|connection| connection.kubeconfig);
    Ok(ProxySettings { config, kubeconfig: own.filter(|text| !text.is_empty()).map(PathBuf::from) })
}

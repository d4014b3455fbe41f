//! The proxy part's configuration: the file is read by `netproxy`, the rest is decided here.

use std::path::{Path, PathBuf};

use netproxy::config::ProxyConfig;
use netproxy::config::file::{FileProblem, KubeProxyConfiguration};
use serde_json::{Map, Value};

use super::file::FileError;
use crate::telemetry::Causes;

#[cfg(test)]
mod tests;

/// What the proxy part runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxySettings {
    pub config: ProxyConfig,
    /// Credential of its own, from `clientConnection.kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// The file, with the defaults of what it leaves out; shown at `/configz`.
    pub effective: Value,
}

impl ProxySettings {
    /// What runs without a file: kube-proxy's defaults (v1.36).
    pub fn defaults(node_name: &str) -> Self {
        let config = ProxyConfig::new(node_name);
        let effective = KubeProxyConfiguration::default().effective(&config);
        Self { config, kubeconfig: None, effective }
    }
}

/// The settings in a KubeProxyConfiguration object; an error names every field that is wrong. Its
/// `hostnameOverride` counts only without a kubelet part, whose node name is then unknown.
pub fn decode_proxy(
    path: &Path,
    object: Map<String, Value>,
    node_name: &str,
) -> Result<ProxySettings, FileError> {
    let content = |problems: Vec<FileProblem>| {
        let texts: Vec<String> =
            problems.iter().map(|problem| Causes(problem).to_string()).collect();
        FileError::Content { path: path.to_owned(), problem: texts.join("; ") }
    };
    let file = KubeProxyConfiguration::read(object).map_err(content)?;
    let config = file.proxy_config(node_name).map_err(content)?;
    let effective = file.effective(&config);
    let own = file.client_connection.and_then(|connection| connection.kubeconfig);
    let kubeconfig = own.filter(|text| !text.is_empty()).map(PathBuf::from);
    Ok(ProxySettings { config, kubeconfig, effective })
}

//! The upstream kubelet and kube-proxy as an agent, to compare with.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use crate::agent_process::{AgentProcess, Files, node_ips};
use crate::daemon::Program;
use crate::node::Node;

impl AgentProcess {
    /// kubelet and kube-proxy with the same files that noded would get; not started.
    pub fn peers(node: &Node) -> Result<Self> {
        let files = Files::write(node)?;
        let ground = node.cluster().ground();
        let program = |name: &str| {
            Program::new(ground.binary(name), node.directory().join(format!("{name}.log")))
                .inside(Arc::clone(node.namespaces()))
        };
        let flag = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        let kubelet = program("kubelet")
            .args([
                flag("config", files.kubelet_config),
                flag("kubeconfig", files.kubelet_kubeconfig),
                flag("root-dir", node.root_directory()),
                format!("--hostname-override={}", node.name()),
                format!("--node-ip={}", node_ips(node)),
            ])
            .args(&node.options().agent_args);
        let proxy = program("kube-proxy").args([flag("config", files.proxy_config)]);
        Ok(Self::new(vec![kubelet, proxy]))
    }
}

//! The agent on a node as processes: noded, or kubelet and kube-proxy, with their files.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::agent_config::{kubelet_configuration, overlay, proxy_configuration};
use crate::daemon::{Daemon, Program, tail};
use crate::node::Node;

/// How long an agent may take to end when asked.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Environment variable with noded's log filter.
const LOG_FILTER: &str = "NODED_LOG";

/// Where the files of an agent are.
pub(crate) struct Files {
    pub kubelet_config: PathBuf,
    pub kubelet_kubeconfig: PathBuf,
    pub proxy_config: PathBuf,
    pub proxy_kubeconfig: PathBuf,
}

impl Files {
    /// Writes configuration and credentials of a node's agent.
    pub fn write(node: &Node) -> Result<Self> {
        let directory = node.directory().join("agent");
        fs::create_dir_all(&directory)?;
        let files = Self {
            kubelet_config: directory.join("kubelet.yaml"),
            kubelet_kubeconfig: directory.join("kubelet.conf"),
            proxy_config: directory.join("kube-proxy.yaml"),
            proxy_kubeconfig: directory.join("kube-proxy.conf"),
        };
        let pki = node.cluster().pki();
        let mut kubelet = kubelet_configuration(node);
        overlay(&mut kubelet, &node.options().kubelet_config);
        let mut proxy = proxy_configuration(node.name(), &files.proxy_kubeconfig);
        overlay(&mut proxy, &node.options().proxy_config);
        let json = |value: &Value| serde_json::to_string_pretty(value);
        // JSON is YAML.
        fs::write(&files.kubelet_config, json(&kubelet)?)?;
        fs::write(&files.proxy_config, json(&proxy)?)?;
        fs::write(&files.kubelet_kubeconfig, pki.node_kubeconfig(node.name())?)?;
        fs::write(
            &files.proxy_kubeconfig,
            pki.proxy_kubeconfig(node.name(), node.options().proxy_credential)?,
        )?;
        Ok(files)
    }
}

/// One or two programs that make a machine a node.
#[derive(Debug)]
pub struct AgentProcess {
    programs: Vec<Program>,
    running: Mutex<Vec<Daemon>>,
}

impl AgentProcess {
    /// An agent made of these programs; not started.
    #[must_use]
    pub fn new(programs: Vec<Program>) -> Self {
        Self { programs, running: Mutex::default() }
    }

    /// The agent under test, with its files written; not started.
    pub fn noded(node: &Node) -> Result<Self> {
        let binary = node.cluster().run().agent();
        let binary = binary.context("there is no noded binary: build it or set NODED_BIN")?;
        let files = Files::write(node)?;
        let path = |path: PathBuf| path.display().to_string();
        let args = [
            ("--config", path(files.kubelet_config)),
            ("--kubeconfig", path(files.kubelet_kubeconfig)),
            ("--hostname-override", node.name().to_owned()),
            ("--node-ip", node_ips(node)),
            ("--root-dir", path(node.root_directory())),
            ("--container-runtime-endpoint", node.runtime_endpoint()),
            ("--proxy-config", path(files.proxy_config)),
            ("--proxy-kubeconfig", path(files.proxy_kubeconfig)),
        ];
        let mut program = Program::new(binary, node.directory().join("noded.log"))
            .args(["run"])
            .args(args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]))
            .args(&node.options().agent_args)
            .env("RUST_BACKTRACE", "1")
            .inside(Arc::clone(node.namespaces()));
        if let Some(filter) = std::env::var_os(LOG_FILTER) {
            program = program.env(LOG_FILTER, filter);
        }
        Ok(Self::new(vec![program]))
    }

    /// The agent under test, or the kubelet in its place, on a node that has no API server: its
    /// configuration alone, no credential. Not started.
    pub fn standalone(node: &Node) -> Result<Self> {
        let cluster = node.cluster();
        let peers = crate::node::peers_wanted();
        let binary = if peers {
            cluster.ground().binary("kubelet")
        } else {
            let noded = cluster.run().agent();
            noded.context("there is no noded binary: build it or set NODED_BIN")?.to_owned()
        };
        let mut config = kubelet_configuration(node);
        overlay(&mut config, &node.options().kubelet_config);
        // Both ask the API server who may call them.
        config["authentication"] = json!({"webhook": {"enabled": false}});
        config["authorization"] = json!({"mode": "AlwaysAllow"});
        let file = node.directory().join("standalone.yaml");
        fs::write(&file, serde_json::to_string_pretty(&config)?)?;
        let subcommand: &[&str] = if peers { &[] } else { &["run"] };
        let program = Program::new(binary, node.directory().join("noded.log"))
            .args(subcommand)
            .args([
                format!("--config={}", file.display()),
                format!("--root-dir={}", node.root_directory().display()),
                format!("--hostname-override={}", node.name()),
                format!("--node-ip={}", node_ips(node)),
            ])
            .args(&node.options().agent_args)
            .env("RUST_BACKTRACE", "1")
            .inside(Arc::clone(node.namespaces()));
        Ok(Self::new(vec![program]))
    }

    fn running(&self) -> MutexGuard<'_, Vec<Daemon>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what does not run.
    pub fn start(&self) -> Result<()> {
        let mut running = self.running();
        if running.is_empty() {
            for program in &self.programs {
                running.push(program.start()?);
            }
        }
        Ok(())
    }

    /// Whether it was started and no program of it has ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let running = self.running();
        !running.is_empty() && running.iter().all(|daemon| matches!(daemon.ended(), Ok(None)))
    }

    /// An error with the end of the log when a program has ended by itself.
    pub fn expect_running(&self) -> Result<()> {
        self.running().iter().try_for_each(Daemon::expect_running)
    }

    /// Process ids as the tests see them: noded's; or kubelet's, then kube-proxy's.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        self.running().iter().map(Daemon::id).collect()
    }

    /// Sends a signal to all programs.
    pub fn signal(&self, signal: Signal) {
        self.running().iter().for_each(|daemon| daemon.signal(signal));
    }

    /// Asks it to end and waits; errors when it does not within 30 s. Pods go on.
    pub async fn stop(&self) -> Result<()> {
        let stopping = std::mem::take(&mut *self.running());
        for daemon in &stopping {
            daemon.stop(STOP_LIMIT).await?;
        }
        Ok(())
    }

    /// Kills it without warning. Pods go on.
    pub async fn kill9(&self) -> Result<()> {
        let killed = std::mem::take(&mut *self.running());
        for daemon in &killed {
            daemon.kill().await?;
        }
        Ok(())
    }

    /// Stops and starts it.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start()
    }

    /// Its log files.
    #[must_use]
    pub fn logs(&self) -> Vec<PathBuf> {
        self.programs.iter().map(|program| program.log().to_owned()).collect()
    }

    /// Everything logged so far, all programs, all starts.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.logs().iter().filter_map(|log| fs::read_to_string(log).ok()).collect()
    }

    /// The last lines of each log.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let tails = self.logs().into_iter().map(|log| {
            let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!("--- end of {name}\n{}", tail(&log, lines))
        });
        tails.collect::<Vec<_>>().join("\n")
    }
}

/// Value of `--node-ip`: both families on a node with pods of both.
pub(crate) fn node_ips(node: &Node) -> String {
    match node.options().pods {
        crate::node::PodFamilies::V4 => node.place().v4().to_string(),
        crate::node::PodFamilies::Dual => format!("{},{}", node.place().v4(), node.place().v6()),
    }
}

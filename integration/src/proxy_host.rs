//! A proxy alone: noded's, or kube-proxy, in a network namespace of its own.
//!
//! Several of them may stand for the same Node, since a proxy knows it by name only: the same
//! objects then make the same rules in each.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::agent_config::{overlay, proxy_configuration};
use crate::daemon::{Daemon, Program};
use crate::namespaces::Namespaces;
use crate::netns::Place;
use crate::node::ProxyCredential;
use crate::real_cluster::Cluster;

/// How long a proxy may take to end when asked.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Where the system's network tools are (Debian 12).
const TOOLS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The tools whose flavour a host may choose.
const FLAVOURED: [&str; 6] = [
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
];

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyKind {
    /// `noded run --no-kubelet`.
    Noded,
    /// The upstream kube-proxy.
    KubeProxy,
}

impl ProxyKind {
    /// Name in messages and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Noded => "noded",
            Self::KubeProxy => "kube-proxy",
        }
    }
}

/// Which interface of the kernel the command `iptables` works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    /// `iptables-nft`.
    Nft,
    /// `iptables-legacy`.
    Legacy,
}

impl Flavour {
    /// The word in the names of the binaries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }

    /// The path of a tool such as `ip6tables-restore` in this flavour.
    #[must_use]
    pub fn tool(self, name: &str) -> PathBuf {
        let (family, verb) =
            name.split_once('-').map_or((name, ""), |(family, verb)| (family, verb));
        let joint = if verb.is_empty() { "" } else { "-" };
        Path::new("/usr/sbin").join(format!("{family}-{}{joint}{verb}", self.name()))
    }
}

/// What a proxy is told.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Which proxy.
    pub kind: ProxyKind,
    /// The Node it stands for.
    pub node: String,
    /// Which iptables it finds.
    pub flavour: Flavour,
    /// Fields laid over the generated `KubeProxyConfiguration`, as a JSON merge patch.
    pub config: Value,
    /// More addresses of the namespace, on its loopback interface, with their lengths.
    pub addresses: Vec<String>,
}

/// A network namespace with a proxy that runs or not.
#[derive(Debug)]
pub struct ProxyHost {
    settings: ProxySettings,
    namespaces: Arc<Namespaces>,
    place: Place,
    tools: PathBuf,
    program: Program,
    daemon: Mutex<Option<Daemon>>,
    cluster: ClusterNetwork,
}

/// The part of the cluster that has to forget the namespace at the end.
struct ClusterNetwork(Arc<Cluster>);

impl std::fmt::Debug for ClusterNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

impl Drop for ProxyHost {
    fn drop(&mut self) {
        self.daemon().take();
        self.cluster.0.network().detach(self.place);
    }
}

impl ProxyHost {
    /// Makes the namespace and the files, in a folder called `name` that nothing else in the run
    /// uses. The proxy is not started.
    pub fn prepare(cluster: &Arc<Cluster>, name: &str, settings: ProxySettings) -> Result<Self> {
        let directory = cluster.run().directory().join("proxies").join(name);
        let tools = directory.join("tools");
        fs::create_dir_all(&tools)?;
        for tool in FLAVOURED {
            symlink(settings.flavour.tool(tool), tools.join(tool))?;
        }
        let namespaces = Arc::new(Namespaces::new_network()?);
        let place = cluster.network().attach(&namespaces)?;
        for address in &settings.addresses {
            let mut ip = Command::new("ip");
            namespaces.output(ip.args(["address", "add", address, "dev", "lo"]))?;
        }
        let kubeconfig = directory.join("kubeconfig");
        let credential = cluster.pki().proxy_kubeconfig(&settings.node, ProxyCredential::Proxy)?;
        fs::write(&kubeconfig, credential)?;
        let mut config = proxy_configuration(&settings.node, &kubeconfig);
        overlay(&mut config, &settings.config);
        let file = directory.join("config.yaml");
        // JSON is YAML.
        fs::write(&file, serde_json::to_string_pretty(&config)?)?;
        let log = directory.join(format!("{}.log", settings.kind.name()));
        let program = match settings.kind {
            ProxyKind::KubeProxy => {
                Program::new(cluster.ground().binary("kube-proxy"), log).args(["--config"])
            }
            ProxyKind::Noded => {
                let binary = cluster.run().agent();
                let binary =
                    binary.context("there is no noded binary: build it or set NODED_BIN")?;
                let root = directory.join("root");
                Program::new(binary, log)
                    .args(["run", "--no-kubelet", "--hostname-override", &settings.node])
                    .args([OsString::from("--root-dir"), root.into()])
                    .args([OsString::from("--proxy-kubeconfig"), kubeconfig.into()])
                    .args(["--proxy-config"])
            }
        };
        let mut search = tools.clone().into_os_string();
        search.push(format!(":{TOOLS}"));
        let program = program
            .args([file])
            .env("PATH", search)
            .env("RUST_BACKTRACE", "1")
            .inside(Arc::clone(&namespaces));
        let (daemon, cluster) = (Mutex::default(), ClusterNetwork(Arc::clone(cluster)));
        Ok(Self { settings, namespaces, place, tools, program, daemon, cluster })
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the proxy was told.
    #[must_use]
    pub fn settings(&self) -> &ProxySettings {
        &self.settings
    }

    /// The namespace, to look at rules or to send packets from.
    #[must_use]
    pub fn namespaces(&self) -> &Arc<Namespaces> {
        &self.namespaces
    }

    /// Its addresses.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Starts the proxy unless it runs.
    pub fn start(&self) -> Result<()> {
        let mut daemon = self.daemon();
        if daemon.is_none() {
            *daemon = Some(self.program.start()?);
        }
        Ok(())
    }

    /// Asks the proxy to end and waits. Its rules stay.
    pub async fn stop(&self) -> Result<()> {
        let stopping = self.daemon().take();
        match stopping {
            Some(daemon) => daemon.stop(STOP_LIMIT).await.map(drop),
            None => Ok(()),
        }
    }

    /// Kills the proxy without warning. Its rules stay.
    pub async fn kill(&self) -> Result<()> {
        let killed = self.daemon().take();
        match killed {
            Some(daemon) => daemon.kill().await.map(drop),
            None => Ok(()),
        }
    }

    /// Sends a signal to the proxy; nothing happens when it does not run.
    pub fn signal(&self, signal: Signal) {
        if let Some(daemon) = &*self.daemon() {
            daemon.signal(signal);
        }
    }

    /// An error with the end of its log when the proxy has ended by itself.
    pub fn expect_running(&self) -> Result<()> {
        self.daemon().as_ref().context("the proxy was not started")?.expect_running()
    }

    /// Process id as the tests see it; errors when it was not started.
    pub fn id(&self) -> Result<u32> {
        Ok(self.daemon().as_ref().context("the proxy was not started")?.id())
    }

    /// The last lines it logged.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        crate::daemon::tail(self.program.log(), lines)
    }

    /// A command that finds the host's flavour of the tools; to be run inside.
    #[must_use]
    pub fn tool(&self, name: &str) -> Command {
        let own = self.tools.join(name);
        let mut command = Command::new(if own.exists() { own } else { name.into() });
        command.env("PATH", TOOLS);
        command
    }

    /// Runs a tool inside to its end and returns what it printed.
    pub async fn output(&self, name: &str, args: &[&str]) -> Result<String> {
        let mut command = self.tool(name);
        command.args(args);
        let namespaces = Arc::clone(&self.namespaces);
        tokio::task::spawn_blocking(move || namespaces.output(&mut command)).await?
    }
}

/// A Node object that no agent speaks for, with these addresses.
#[must_use]
pub fn silent_node(name: &str, addresses: &[&str], pod_cidrs: &[&str]) -> Value {
    let addresses: Vec<Value> =
        addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name},
        },
        "spec": {"podCIDR": pod_cidrs.first(), "podCIDRs": pod_cidrs},
        "status": {"addresses": addresses},
    })
}

//! A test node: namespaces, cgroup, containerd; and room for the agent under test or its peers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;

use crate::agent_process::AgentProcess;
use crate::cri_proxy::CriProxy;
use crate::ground::Lane;
use crate::isolation::cgroups;
use crate::namespaces::Namespaces;
use crate::netns::{CONTROL_PLANE, Place};
use crate::node_space::NodeSpace;
use crate::real_cluster::Cluster;
use crate::real_runtime::Runtime;
use crate::wait::{self, Look};

/// How long a node may take from the agent's start to Ready; some seconds when all is well.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// What kind of node a test wants. The default is one with the main lane's containerd, the
/// three test images and IPv4 pods.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Which containerd.
    pub lane: Lane,
    /// Archives to import before the agent starts.
    pub images: Vec<&'static str>,
    /// Which families the pods get addresses of.
    pub pods: PodFamilies,
    /// Size in bytes of a file system of its own for the node's files, to fill it up.
    pub disk_bytes: Option<u64>,
    /// Fields laid over the generated `KubeletConfiguration`, as a JSON merge patch.
    pub kubelet_config: Value,
    /// Fields laid over the generated `KubeProxyConfiguration`, as a JSON merge patch.
    pub proxy_config: Value,
    /// Whose credential the proxy gets.
    pub proxy_credential: ProxyCredential,
    /// More command line arguments for the agent, of the peers for the kubelet.
    pub agent_args: Vec<String>,
    /// Whether the agent speaks to its containerd through a [`CriProxy`].
    pub cri_proxy: bool,
}

/// Address families of a node's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodFamilies {
    /// IPv4 only.
    V4,
    /// IPv4 first, then IPv6.
    Dual,
}

/// Whose credential a node's proxy gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyCredential {
    /// That of `system:kube-proxy`, which upstream's roles provide for.
    Proxy,
    /// The node's own.
    Node,
    /// That of a user in no group.
    User(&'static str),
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            lane: Lane::Main,
            images: vec!["pause", "busybox", "agnhost"],
            pods: PodFamilies::V4,
            disk_bytes: None,
            kubelet_config: Value::Null,
            proxy_config: Value::Null,
            proxy_credential: ProxyCredential::Proxy,
            agent_args: Vec::new(),
            cri_proxy: false,
        }
    }
}

/// A node that a control plane may or may not know of yet.
pub struct Node {
    name: String,
    options: NodeOptions,
    directory: PathBuf,
    space: NodeSpace,
    place: Place,
    runtime: Runtime,
    cri_proxy: Option<CriProxy>,
    cluster: Arc<Cluster>,
    agent: Mutex<Option<Arc<AgentProcess>>>,
}

impl Node {
    /// Makes a node on the cluster's network with containerd running and images imported.
    /// No agent runs yet and the API does not know the node.
    pub async fn start(cluster: &Arc<Cluster>, name: &str, options: NodeOptions) -> Result<Self> {
        let directory = cluster.run().directory().join("nodes").join(name);
        fs::create_dir_all(&directory)?;
        if let Some(bytes) = options.disk_bytes {
            let size = format!("mode=755,size={bytes}");
            mount(Some("noded-test"), &directory, Some("tmpfs"), MsFlags::empty(), Some(&*size))
                .context("cannot mount the node's disk")?;
        }
        cgroups::create(&cgroup_name(cluster, name)).context("cannot create the node's cgroup")?;
        let space = NodeSpace::start(name, &directory, &CONTROL_PLANE.to_string())?;
        let place = cluster.network().attach(space.namespaces())?;
        let runtime = Runtime::start(
            options.lane,
            cluster.ground(),
            &directory.join("containerd"),
            space.namespaces(),
        )
        .await?;
        runtime.import(&options.images).await?;
        let cri_proxy = match options.cri_proxy {
            true => Some(CriProxy::start(&directory.join("cri-proxy.sock"), &runtime.socket())?),
            false => None,
        };
        fs::create_dir_all(directory.join("kubelet"))?;
        fs::create_dir_all(directory.join("manifests"))?;
        Ok(Self {
            name: name.to_owned(),
            options,
            directory,
            space,
            place,
            runtime,
            cri_proxy,
            cluster: Arc::clone(cluster),
            agent: Mutex::default(),
        })
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the test asked for.
    #[must_use]
    pub fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// The node's addresses.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Its containerd.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The proxy before its containerd; errors when the test asked for none.
    pub fn cri_proxy(&self) -> Result<&CriProxy> {
        self.cri_proxy.as_ref().context("the node was made without a CRI proxy")
    }

    /// The CRI endpoint that the agent is told.
    #[must_use]
    pub fn runtime_endpoint(&self) -> String {
        self.cri_proxy.as_ref().map_or_else(|| self.runtime.endpoint(), CriProxy::endpoint)
    }

    /// Its namespaces, to look at rules and mounts or to run something there.
    #[must_use]
    pub fn namespaces(&self) -> &Arc<Namespaces> {
        self.space.namespaces()
    }

    /// The control plane it belongs to.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Folder with everything of the node.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The agent's root directory, `/var/lib/kubelet` on an ordinary node.
    #[must_use]
    pub fn root_directory(&self) -> PathBuf {
        self.directory.join("kubelet")
    }

    /// Folder the agent reads static pods from.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.directory.join("manifests")
    }

    /// The node's `/var/log`, as seen from the tests.
    #[must_use]
    pub fn var_log(&self) -> PathBuf {
        self.directory.join("files/var-log")
    }

    /// The cgroup that the node's pods are below: a path from the top of every hierarchy.
    #[must_use]
    pub fn cgroup_root(&self) -> String {
        format!("/{}", cgroup_name(&self.cluster, &self.name))
    }

    /// API path of the Node object.
    #[must_use]
    pub fn api_path(&self) -> String {
        format!("/api/v1/nodes/{}", self.name)
    }

    /// Path of the node's pods in the API, for lists and watches.
    #[must_use]
    pub fn pods_path(&self) -> String {
        format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", self.name)
    }

    fn agent_slot(&self) -> MutexGuard<'_, Option<Arc<AgentProcess>>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent that was started last; errors before the first.
    pub fn agent(&self) -> Result<Arc<AgentProcess>> {
        self.agent_slot().clone().context("no agent was started on this node")
    }

    /// Starts the agent under test, or kubelet and kube-proxy when the environment variable
    /// `NODED_TEST_AGENT` is `peers`. Does not wait for anything.
    pub fn start_agent(&self) -> Result<Arc<AgentProcess>> {
        if peers_wanted() { self.start_peers() } else { self.start_as(AgentProcess::noded(self)?) }
    }

    /// Starts the real kubelet and kube-proxy.
    pub fn start_peers(&self) -> Result<Arc<AgentProcess>> {
        self.start_as(AgentProcess::peers(self)?)
    }

    /// Starts programs as the node's agent; errors while another agent runs.
    pub fn start_as(&self, agent: AgentProcess) -> Result<Arc<AgentProcess>> {
        let agent = Arc::new(agent);
        let mut slot = self.agent_slot();
        ensure!(slot.as_ref().is_none_or(|known| !known.is_running()), "an agent runs already");
        agent.start()?;
        *slot = Some(Arc::clone(&agent));
        Ok(agent)
    }

    /// Waits until the node is registered and has its pod ranges, gives the ranges to CNI and to
    /// the network, and waits until the Node is Ready.
    pub async fn join(&self) -> Result<()> {
        let ranges = wait::until("pod range of the node", READY_LIMIT, || async {
            self.agent()?.expect_running()?;
            let node = self.cluster.client().find(&self.api_path()).await?;
            let ranges = node.map(|node| node["spec"]["podCIDRs"].clone()).unwrap_or_default();
            Ok(match serde_json::from_value::<Vec<String>>(ranges) {
                Ok(ranges) if !ranges.is_empty() => Look::Met(ranges),
                _ => Look::NotYet("none".to_owned()),
            })
        })
        .await
        .with_context(|| self.agent_tail())?;
        self.cluster.network().route_pods(self.place, &ranges)?;
        let used = match self.options.pods {
            PodFamilies::V4 => &ranges[..1],
            PodFamilies::Dual => &ranges[..],
        };
        self.runtime.configure_cni(used)?;
        self.wait_ready(READY_LIMIT).await
    }

    /// Waits until the condition Ready of the Node is true and new pods may come.
    pub async fn wait_ready(&self, limit: Duration) -> Result<()> {
        wait::until("node Ready", limit, || async {
            self.agent()?.expect_running()?;
            let node = self.cluster.get_json(&self.api_path()).await?;
            let taints = node["spec"]["taints"].as_array().is_some_and(|taints| !taints.is_empty());
            let ready = condition(&node, "Ready");
            Ok(match ready {
                Some(ready) if ready["status"] == "True" && !taints => Look::Met(()),
                _ => Look::NotYet(format!("{ready:?}, taints {}", node["spec"]["taints"])),
            })
        })
        .await
        .with_context(|| self.agent_tail())
    }

    fn agent_tail(&self) -> String {
        self.agent().map(|agent| agent.tail(15)).unwrap_or_default()
    }

    /// Ends the node: every process, its mounts, network and cgroups; its Node object too.
    /// Does everything even when a part fails. Nothing happens the second time.
    pub async fn remove(&self) -> Result<()> {
        if !self.directory.exists() {
            return Ok(());
        }
        self.space.kill();
        if let Ok(agent) = self.agent() {
            agent.kill9().await?;
        }
        self.runtime.kill().await?;
        let deleted = self.forget().await;
        self.space.wait();
        self.cluster.network().detach(self.place);
        let mut problems = cgroups::remove_named(&cgroup_name(&self.cluster, &self.name));
        if self.options.disk_bytes.is_some() {
            umount2(&self.directory, MntFlags::MNT_DETACH)?;
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            problems.push(format!("cannot remove {}: {error}", self.directory.display()));
        }
        ensure!(problems.is_empty(), "{}", problems.join("; "));
        deleted
    }

    /// Deletes the Node object and all pods on it, which nobody would end any more.
    async fn forget(&self) -> Result<()> {
        let client = self.cluster.client();
        client.delete(&self.api_path()).await?;
        for pod in client.list(&self.pods_path()).await? {
            let mut pod = pod;
            pod["apiVersion"] = "v1".into();
            pod["kind"] = "Pod".into();
            client.force_delete(&crate::resource::path_of(&pod)?).await?;
        }
        Ok(())
    }

    /// Log files of the node, for keeping.
    #[must_use]
    pub fn logs(&self) -> Vec<PathBuf> {
        let mut logs = vec![self.runtime.log().to_owned()];
        if let Ok(agent) = self.agent() {
            logs.extend(agent.logs());
        }
        logs
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // First of all: containerd's and the agent's end are waited for after this, and they
        // must not wait for their children.
        self.space.kill();
    }
}

/// Whether the tests are to run against the upstream kubelet and kube-proxy.
#[must_use]
pub fn peers_wanted() -> bool {
    std::env::var("NODED_TEST_AGENT").is_ok_and(|kind| kind == "peers")
}

fn cgroup_name(cluster: &Cluster, node: &str) -> String {
    format!("{}-{node}", cluster.run().cgroup_prefix())
}

/// The condition of this type in an object's status.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|found| found["type"] == kind)
}

//! What a test is given: the shared control plane, and nodes and namespaces of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::artifacts;
use crate::dns::Dns;
use crate::isolation::Run;
use crate::node::{Node, NodeOptions};
use crate::real_cluster::Cluster;

/// What all tests of a run share, made when the first test asks for it.
pub struct Shared {
    run: Run,
    cluster: OnceCell<Arc<Cluster>>,
    dns: OnceCell<Dns>,
    node: OnceCell<Arc<Node>>,
    numbers: AtomicU32,
}

impl Shared {
    /// Nothing is started yet.
    #[must_use]
    pub fn new(run: Run) -> Self {
        Self {
            run,
            cluster: OnceCell::new(),
            dns: OnceCell::new(),
            node: OnceCell::new(),
            numbers: AtomicU32::new(1),
        }
    }
}

/// One test's view of the run. What it makes is removed after the test, also when it fails.
pub struct TestContext {
    name: String,
    shared: Arc<Shared>,
    nodes: Mutex<Vec<Arc<Node>>>,
    namespaces: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TestContext {
    /// The context of the test called `name`.
    #[must_use]
    pub fn new(name: &str, shared: Arc<Shared>) -> Self {
        Self {
            name: name.to_owned(),
            shared,
            nodes: Mutex::default(),
            namespaces: Mutex::default(),
        }
    }

    /// The test's name with its module.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The run the test is in.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.shared.run
    }

    /// The control plane all tests share. The first call starts it.
    pub async fn cluster(&self) -> Result<Arc<Cluster>> {
        self.shared.cluster.get_or_try_init(|| Cluster::start(&self.shared.run)).await.cloned()
    }

    /// The cluster with DNS behind `10.96.0.10`. The first call starts CoreDNS.
    pub async fn cluster_with_dns(&self) -> Result<Arc<Cluster>> {
        let cluster = self.cluster().await?;
        self.shared.dns.get_or_try_init(|| Dns::start(&cluster)).await?;
        Ok(cluster)
    }

    /// A number that nothing else in this run got.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.shared.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A node of this test with containerd running and images imported, without an agent.
    pub async fn bare_node(&self, options: NodeOptions) -> Result<Arc<Node>> {
        let cluster = self.cluster().await?;
        let name = format!("node-{}", self.number());
        let node = Arc::new(Node::start(&cluster, &name, options).await?);
        lock(&self.nodes).push(Arc::clone(&node));
        Ok(node)
    }

    /// A node of this test on which the agent runs, joined and Ready.
    pub async fn node(&self, options: NodeOptions) -> Result<Arc<Node>> {
        let node = self.bare_node(options).await?;
        node.start_agent()?;
        node.join().await?;
        Ok(node)
    }

    /// A Ready node with the default options that all tests share which only run pods on it. The
    /// first call makes it; it ends with the run.
    pub async fn shared_node(&self) -> Result<Arc<Node>> {
        let make = || async {
            let cluster = self.cluster().await?;
            let node = Arc::new(Node::start(&cluster, "shared", NodeOptions::default()).await?);
            node.start_agent()?;
            if let Err(error) = node.join().await {
                node.remove().await?;
                return Err(error);
            }
            Ok(node)
        };
        self.shared.node.get_or_try_init(make).await.cloned()
    }

    /// A Ready node with the real kubelet and kube-proxy.
    pub async fn peer_node(&self, options: NodeOptions) -> Result<Arc<Node>> {
        let node = self.bare_node(options).await?;
        node.start_peers()?;
        node.join().await?;
        Ok(node)
    }

    /// A new namespace with its default service account.
    pub async fn namespace(&self) -> Result<String> {
        let cluster = self.cluster().await?;
        let name = format!("test-{}", self.number());
        lock(&self.namespaces).push(name.clone());
        cluster.create_namespace(&name).await?;
        Ok(name)
    }

    /// Removes what the test made; when it failed, keeps the logs first. Returns the error of
    /// the first thing that could not be removed.
    pub async fn clean_up(&self, failed: bool) -> Result<()> {
        let nodes = std::mem::take(&mut *lock(&self.nodes));
        let namespaces = std::mem::take(&mut *lock(&self.namespaces));
        let cluster = self.shared.cluster.get();
        if failed {
            let shared = self.shared.node.get().into_iter();
            let all: Vec<Arc<Node>> = nodes.iter().chain(shared).cloned().collect();
            artifacts::keep(&self.name, cluster.map(AsRef::as_ref), &all).await;
        }
        let mut outcome = Ok(());
        if let Some(cluster) = cluster {
            // A test may have failed while it was stopped.
            outcome = outcome.and(cluster.start_api_server().await);
            for namespace in namespaces {
                let path = format!("/api/v1/namespaces/{namespace}");
                outcome = outcome.and(cluster.client().delete(&path).await);
            }
        }
        for node in nodes {
            outcome = outcome.and(node.remove().await);
        }
        outcome
    }
}

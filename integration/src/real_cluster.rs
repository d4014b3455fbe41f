//! A control plane of the real binaries: etcd, API server, controller manager, scheduler.
//!
//! It listens in the network namespace of the tests, which is the control plane's own, with the
//! authorization modes `Node,RBAC` and the admission plugin `NodeRestriction`, always.

mod flags;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::api_client::ApiClient;
use crate::daemon::{Daemon, Program};
use crate::ground::Ground;
use crate::isolation::Run;
use crate::netns::{CONTROL_PLANE, CONTROL_PLANE_V6, Network};
use crate::pki::{Identity, Pki};
use crate::wait::{self, Look};
use crate::watch::Watch;

/// How long the API server may take to be ready; six seconds on two idle cores.
const START_LIMIT: Duration = Duration::from_secs(90);

/// How long the controllers may take to furnish a namespace: after an absence of the API server
/// they come back with a wait of up to half a minute, one after the other.
const ACCOUNT_LIMIT: Duration = Duration::from_secs(180);

/// The administrator's identity.
const ADMIN: Identity<'static> = Identity { user: "admin", group: Some("system:masters") };

/// A running control plane with its network.
pub struct Cluster {
    run: Run,
    ground: Ground,
    directory: PathBuf,
    network: Network,
    pki: Pki,
    client: ApiClient,
    programs: Programs,
    running: Mutex<Running>,
}

struct Programs {
    etcd: Program,
    api_server: Program,
    controllers: Program,
    scheduler: Program,
}

#[derive(Default)]
struct Running {
    etcd: Option<Daemon>,
    api_server: Option<Daemon>,
    /// Controller manager and scheduler.
    others: Vec<Daemon>,
}

impl Cluster {
    /// Starts a control plane; one per run, since its addresses are fixed. Returns when the API
    /// is ready; controller manager and scheduler are started and may not be ready yet.
    pub async fn start(run: &Run) -> Result<Arc<Self>> {
        Self::start_with(run, &[]).await
    }

    /// [`Self::start`] with more command line arguments for the API server.
    pub async fn start_with(run: &Run, api_server_args: &[String]) -> Result<Arc<Self>> {
        let ground = Ground::from_environment()?;
        let directory = run.directory().join("control-plane");
        fs::create_dir_all(&directory)?;
        let network = Network::start()?;
        let server = format!("https://{CONTROL_PLANE}:6443");
        let (v4, v6) = (CONTROL_PLANE.to_string(), CONTROL_PLANE_V6.to_string());
        let hosts = [
            v4.as_str(),
            v6.as_str(),
            "127.0.0.1",
            flags::API_SERVICE_ADDRESS,
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let pki = Pki::create(&directory.join("pki"), &server, &hosts)?;
        let client = ApiClient::new(&pki, ADMIN)?;
        pki.write_kubeconfig("admin.conf", ADMIN)?;
        let programs = Programs {
            etcd: flags::etcd(&ground, &directory),
            api_server: flags::api_server(&ground, &directory, &pki).args(api_server_args),
            controllers: flags::controllers(&ground, &directory, &pki)?,
            scheduler: flags::scheduler(&ground, &directory, &pki)?,
        };
        let running = Mutex::default();
        let run = run.clone();
        let cluster = Self { run, ground, directory, network, pki, client, programs, running };
        cluster.start_etcd().await?;
        cluster.start_api_server().await?;
        cluster.start_controllers().await?;
        Ok(Arc::new(cluster))
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start_etcd(&self) -> Result<()> {
        self.running().etcd = Some(self.programs.etcd.start()?);
        wait::until("etcd", START_LIMIT, || async {
            if let Some(etcd) = &self.running().etcd {
                etcd.expect_running()?;
            }
            Ok(match tokio::net::TcpStream::connect(flags::ETCD_ADDRESS).await {
                Ok(_) => Look::Met(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await
    }

    /// Starts the API server and waits until it is ready. Nothing happens when it runs.
    pub async fn start_api_server(&self) -> Result<()> {
        if self.running().api_server.is_some() {
            return Ok(());
        }
        let daemon = self.programs.api_server.start()?;
        self.running().api_server = Some(daemon);
        wait::until("API server", START_LIMIT, || async {
            if let Some(server) = &self.running().api_server {
                server.expect_running()?;
            }
            Ok(match self.client.get_text("/readyz").await {
                Ok(_) => Look::Met(()),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
        .await
    }

    /// Stops the API server; etcd keeps what was stored.
    pub async fn stop_api_server(&self) -> Result<()> {
        let server = self.running().api_server.take();
        if let Some(server) = server {
            // Its orderly end waits for open watches; nodes must live with a sudden one anyway.
            server.kill().await?;
        }
        Ok(())
    }

    async fn start_controllers(&self) -> Result<()> {
        // The controller manager ends at once without this.
        let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
        wait::until("authentication settings", START_LIMIT, || async {
            Ok(match self.client.find(path).await? {
                Some(_) => Look::Met(()),
                None => Look::NotYet("no ConfigMap".to_owned()),
            })
        })
        .await?;
        let others = vec![self.programs.controllers.start()?, self.programs.scheduler.start()?];
        self.running().others = others;
        Ok(())
    }

    /// Starts controller manager and scheduler anew, the former with more command line arguments
    /// than it usually has. Does not wait for either.
    pub async fn restart_controllers(&self, args: &[&str]) -> Result<()> {
        let others = std::mem::take(&mut self.running().others);
        for daemon in &others {
            daemon.kill().await?;
        }
        let controllers = self.programs.controllers.clone().args(args);
        self.running().others = vec![controllers.start()?, self.programs.scheduler.start()?];
        Ok(())
    }

    /// Ends all parts, in the order that lets none complain.
    pub async fn stop(&self) -> Result<()> {
        let Running { etcd, api_server, others } = std::mem::take(&mut *self.running());
        for daemon in others.iter().chain(&api_server).chain(&etcd) {
            daemon.kill().await?;
        }
        Ok(())
    }

    /// The client with the administrator's rights.
    #[must_use]
    pub fn client(&self) -> &ApiClient {
        &self.client
    }

    /// A client with the rights of another identity.
    pub fn client_as(&self, identity: Identity<'_>) -> Result<ApiClient> {
        ApiClient::new(&self.pki, identity)
    }

    /// Certificates and kubeconfigs.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The network the control plane and the nodes are on.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The run this control plane belongs to.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The binaries and images in use.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Folder with the logs of all parts.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Path of the administrator's kubeconfig.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.pki.file("admin.conf")
    }

    /// Runs `kubectl` as administrator and returns what it printed; an error with its standard
    /// error when it fails.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_with_input(args, "").await
    }

    /// [`Self::kubectl`] with a text on standard input.
    pub async fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let mut child = Command::new(self.ground.binary("kubectl"))
            .arg("--kubeconfig")
            .arg(self.admin_kubeconfig())
            .args(args)
            .env_clear()
            .env("HOME", &self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run kubectl")?;
        let mut stdin = child.stdin.take().context("no pipe to kubectl")?;
        // A kubectl that needs no input may end before it is written.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}\n{printed}", args.join(" "), errors.trim());
        }
        Ok(printed)
    }

    /// Runs a command in a container through the API server and returns its output.
    pub async fn exec(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<String> {
        self.kubectl(&[&["exec", "-n", namespace, pod, "--"], command].concat()).await
    }

    /// Applies manifests in YAML or JSON text.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.kubectl_with_input(&["apply", "-f", "-"], manifests).await.map(drop)
    }

    /// The object at an API path.
    pub async fn get_json(&self, path: &str) -> Result<Value> {
        self.client.get(path).await
    }

    /// Creates an object.
    pub async fn create(&self, object: &Value) -> Result<Value> {
        self.client.create(object).await
    }

    /// Watches a collection; see [`ApiClient::watch`].
    pub async fn watch(&self, path: &str) -> Result<Watch> {
        self.client.watch(path).await
    }

    /// Creates a namespace and waits until pods can be created in it.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.create(&object).await?;
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        let roots = format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt");
        wait::until("default service account", ACCOUNT_LIMIT, || async {
            for path in [&account, &roots] {
                if self.client.find(path).await?.is_none() {
                    return Ok(Look::NotYet(format!("no {path}")));
                }
            }
            Ok(Look::Met(()))
        })
        .await
    }
}

//! A private containerd of a node: own root, state, socket and CNI configuration.

mod settings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::daemon::{Daemon, Program, output};
use crate::ground::{Ground, Lane};
use crate::namespaces::Namespaces;
use crate::wait::{self, Look};

/// The sandbox image of every node.
pub const PAUSE_IMAGE: &str = "noded.test/pause:1";
/// A shell and the usual small programs.
pub const BUSYBOX_IMAGE: &str = "noded.test/busybox:1";
/// The Kubernetes test server with many faces.
pub const AGNHOST_IMAGE: &str = "noded.test/agnhost:1";

const START_LIMIT: Duration = Duration::from_secs(30);

/// A containerd with what it needs to be started again.
#[derive(Debug)]
pub struct Runtime {
    lane: Lane,
    ground: Ground,
    directory: PathBuf,
    namespaces: Arc<Namespaces>,
    program: Program,
    daemon: Mutex<Option<Daemon>>,
}

impl Runtime {
    /// Starts a containerd with its files in `directory` inside a node's namespaces. Returns
    /// when it answers; no image is there yet.
    pub async fn start(
        lane: Lane,
        ground: &Ground,
        directory: &Path,
        namespaces: &Arc<Namespaces>,
    ) -> Result<Self> {
        for folder in ["root", "state", "cni", "certs.d"] {
            fs::create_dir_all(directory.join(folder))?;
        }
        let configuration = directory.join("config.toml");
        fs::write(&configuration, settings::render(lane, ground, directory))?;
        let program = Program::new(
            ground.runtime_binaries(lane).join("containerd"),
            directory.join("containerd.log"),
        )
        .args(["--config".as_ref(), configuration.as_os_str()])
        .inside(Arc::clone(namespaces));
        let runtime = Self {
            lane,
            ground: ground.clone(),
            directory: directory.to_owned(),
            namespaces: Arc::clone(namespaces),
            program,
            daemon: Mutex::default(),
        };
        runtime.start_again().await?;
        Ok(runtime)
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("containerd.sock")
    }

    /// Its socket as a CRI endpoint: `unix://PATH`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.program.log()
    }

    /// Process id of containerd, `None` while it is stopped.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.daemon().as_ref().map(Daemon::id)
    }

    /// Kills containerd; containers and their shims go on.
    pub async fn kill(&self) -> Result<()> {
        let daemon = self.daemon().take();
        if let Some(daemon) = daemon {
            daemon.kill().await?;
        }
        Ok(())
    }

    /// Starts containerd after [`Self::kill`] and waits until it answers.
    pub async fn start_again(&self) -> Result<()> {
        let daemon = self.program.start()?;
        *self.daemon() = Some(daemon);
        wait::until("containerd", START_LIMIT, || async {
            if let Some(daemon) = self.daemon().as_ref() {
                daemon.expect_running()?;
            }
            if let Err(error) = tokio::net::UnixStream::connect(self.socket()).await {
                return Ok(Look::NotYet(error.to_string()));
            }
            self.ctr(&["version"]).await.map(|_| Look::Met(()))
        })
        .await
    }

    /// Kills containerd and starts it again under its running containers.
    pub async fn restart(&self) -> Result<()> {
        self.kill().await?;
        self.start_again().await
    }

    /// Runs `ctr` in the namespace of Kubernetes and returns what it printed.
    pub async fn ctr(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.ground.runtime_binaries(self.lane).join("ctr"));
        command.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io"]).args(args);
        // Not inside the node: an import mounts nothing, and archives are read here.
        tokio::task::spawn_blocking(move || output(&mut command)).await?
    }

    /// Imports images by the names of their archives, such as `pause`, all at the same time.
    pub async fn import(&self, names: &[&str]) -> Result<()> {
        let imports = names.iter().map(|name| async move {
            let archive = self.ground.image_archive(name);
            let archive = archive.to_str().context("path of the archive")?;
            self.ctr(&["images", "import", archive]).await
        });
        futures::future::try_join_all(imports).await.map(drop)
    }

    /// Names of the running and stopped containers and sandboxes, in containerd's own terms.
    pub async fn containers(&self) -> Result<Vec<String>> {
        let printed = self.ctr(&["containers", "list", "--quiet"]).await?;
        Ok(printed.lines().map(str::to_owned).collect())
    }

    /// Lets containerd pull over plain HTTP from a registry that a test runs at `address`, a
    /// host and port.
    pub fn trust_registry(&self, address: &str) -> Result<()> {
        let directory = self.directory.join("certs.d").join(address);
        fs::create_dir_all(&directory)?;
        let text = format!("server = \"http://{address}\"\n[host.\"http://{address}\"]\n");
        fs::write(directory.join("hosts.toml"), text)?;
        Ok(())
    }

    /// Writes the CNI configuration of a node: a bridge whose pods get addresses from `ranges`.
    /// Pod addresses are kept as they are on the way out of the node.
    pub fn configure_cni(&self, ranges: &[String]) -> Result<()> {
        let ranges: Vec<_> = ranges.iter().map(|range| json!([{"subnet": range}])).collect();
        let list = json!({
            "cniVersion": "1.0.0",
            "name": "noded-test",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isDefaultGateway": true,
                    "hairpinMode": true,
                    "ipMasq": false,
                    "ipam": {
                        "type": "host-local",
                        "ranges": ranges,
                        "dataDir": self.directory.join("cni-addresses"),
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
            ],
        });
        // Complete at once, and from within the folder: containerd looks again when a file is
        // renamed away there, not when one appears.
        let (partial, file) =
            (self.directory.join("cni/.partial"), self.directory.join("cni/10-test.conflist"));
        fs::write(&partial, serde_json::to_vec_pretty(&list)?)?;
        fs::rename(partial, file).context("cannot write the CNI configuration")
    }

    /// Removes the CNI configuration: the network becomes not ready.
    pub fn remove_cni(&self) -> Result<()> {
        fs::remove_file(self.directory.join("cni/10-test.conflist"))
            .context("cannot remove the CNI configuration")
    }

    /// The namespaces it runs in.
    #[must_use]
    pub fn namespaces(&self) -> &Arc<Namespaces> {
        &self.namespaces
    }
}

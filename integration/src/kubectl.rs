//! kubectl of two releases, over each protocol it has for streams.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::real_cluster::Cluster;

/// How long one call may take, a hundred megabytes on a busy machine included.
const LIMIT: Duration = Duration::from_secs(120);

/// One kubectl with the administrator's rights.
#[derive(Debug, Clone)]
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    websockets: bool,
}

/// How a call came out.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    pub output: Vec<u8>,
    pub errors: String,
}

impl Ended {
    /// The output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

impl Kubectl {
    /// The kubectl of this release and the oldest that may speak to it, each over WebSocket and
    /// over SPDY.
    #[must_use]
    pub fn all(cluster: &Cluster) -> Vec<Self> {
        let kinds = [("kubectl", true), ("kubectl", false)];
        let previous = [("kubectl-previous", true), ("kubectl-previous", false)];
        let all = kinds.into_iter().chain(previous);
        all.map(|(name, websockets)| Self {
            binary: cluster.ground().binary(name),
            kubeconfig: cluster.admin_kubeconfig(),
            home: cluster.logs(),
            websockets,
        })
        .collect()
    }

    /// The kubectl of this release and the oldest that may speak to it, for what needs no stream.
    pub fn of_both_releases(cluster: &Cluster) -> impl Iterator<Item = Self> {
        Self::all(cluster).into_iter().filter(|kubectl| kubectl.websockets)
    }

    /// Which one it is, for messages and names of objects: `kubectl-previous-spdy`.
    #[must_use]
    pub fn name(&self) -> String {
        let protocol = if self.websockets { "websocket" } else { "spdy" };
        let binary = self.binary.file_name().unwrap_or_default().to_string_lossy();
        format!("{binary}-{protocol}")
    }

    fn prepared(&self, mut command: Command) -> Command {
        let websockets = self.websockets.to_string();
        command
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", "/usr/bin:/bin")
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", &websockets)
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", &websockets)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts it with pipes.
    pub fn start(&self, args: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.binary);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        self.prepared(command).spawn().with_context(|| format!("cannot run {}", self.name()))
    }

    /// Runs it to its end with these bytes on standard input.
    pub async fn run(&self, args: &[&str], input: &[u8]) -> Result<Ended> {
        self.finish(self.start(args)?, args, input).await
    }

    /// The same with a terminal of 91 columns and 33 rows. Output and errors come as one.
    pub async fn run_in_terminal(&self, args: &[&str], input: &[u8]) -> Result<Ended> {
        let quoted: Vec<String> =
            args.iter().map(|arg| format!("'{}'", arg.replace('\'', "'\\''"))).collect();
        let line = format!(
            "stty cols 91 rows 33; exec '{}' --kubeconfig '{}' {}",
            self.binary.display(),
            self.kubeconfig.display(),
            quoted.join(" ")
        );
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &line, "/dev/null"]);
        let child = self.prepared(command).spawn().context("cannot run script")?;
        self.finish(child, args, input).await
    }

    async fn finish(&self, mut child: Child, args: &[&str], input: &[u8]) -> Result<Ended> {
        let mut stdin = child.stdin.take().context("no pipe")?;
        let feed = async {
            // A program that needs no input may end before it is written.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let late = || format!("{} {}: no end in {LIMIT:?}", self.name(), args.join(" "));
        let output = tokio::time::timeout(LIMIT, both).await.with_context(late)??;
        Ok(Ended {
            code: output.status.code().unwrap_or(-1),
            output: output.stdout,
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it and returns what it printed; an error when it fails.
    pub async fn succeed(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let ended = self.run(args, input).await?;
        let words = args.join(" ");
        ensure!(ended.code == 0, "{} {words}: {}: {}", self.name(), ended.code, ended.errors);
        Ok(ended.output)
    }
}

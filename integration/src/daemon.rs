//! A program started by the harness: its arguments, namespaces and log; and its end.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::namespaces::Namespaces;
use crate::wait::{self, Look};

/// A program ended that should run. Waiting for anything it would bring about is pointless.
#[derive(Debug)]
pub struct Ended(String);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Ended {}

/// What to start and where. Programs get no environment but what is set here.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    log: PathBuf,
    namespaces: Option<Arc<Namespaces>>,
}

impl Program {
    /// A program whose output is appended to the file `log`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        let mut program = Self {
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            log: log.into(),
            namespaces: None,
        };
        let search = program.path.parent().unwrap_or(Path::new("/")).as_os_str().to_owned();
        program.env =
            vec![("PATH".into(), with_system_paths(&search)), ("HOME".into(), "/".into())];
        program
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts the program inside these namespaces.
    #[must_use]
    pub fn inside(mut self, namespaces: Arc<Namespaces>) -> Self {
        self.namespaces = Some(namespaces);
        self
    }

    /// The file the output goes to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it.
    pub fn start(&self) -> Result<Daemon> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot open {}", self.log.display()))?;
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = match &self.namespaces {
            Some(namespaces) => namespaces.spawn(&mut command)?,
            None => {
                command.spawn().with_context(|| format!("cannot start {}", self.path.display()))?
            }
        };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Daemon { name, id: child.id(), child: Mutex::new(child), log: self.log.clone() })
    }
}

/// The folder of a program before the system's own folders.
fn with_system_paths(first: &OsStr) -> OsString {
    let mut search = first.to_owned();
    search.push(":/usr/sbin:/usr/bin:/sbin:/bin");
    search
}

/// A started program. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    id: u32,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Daemon {
    /// Its process id as the tests see it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The file its output goes to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, `None` while it runs.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// [`Ended`] with the end of its log when it is not running any more.
    pub fn expect_running(&self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => {
                let log = tail(&self.log, 20);
                Err(Ended(format!(
                    "{} ended with {status}; log:
{log}",
                    self.name
                ))
                .into())
            }
        }
    }

    /// Sends a signal; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        // The lock and the check keep the signal from a foreign process that got the same id:
        // an id is not given away before the child is waited for.
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Ok(None), Ok(id)) = (child.try_wait(), i32::try_from(self.id)) {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Asks it to end and waits; errors when it still runs after `limit`.
    pub async fn stop(&self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.wait(limit).await
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.wait(Duration::from_secs(10)).await
    }

    /// Waits for its end.
    pub async fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        wait::until(&format!("end of {}", self.name), limit, || async {
            Ok(self.ended()?.map_or_else(|| Look::NotYet("running".to_owned()), Look::Met))
        })
        .await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Runs a program to its end and returns its standard output; an error with its standard error
/// when it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {shown}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}: {}: {}{}", output.status, errors.trim(), printed.trim());
    }
    Ok(printed)
}

/// The last lines of a file, empty when it cannot be read.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let content = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

//! **What**: a test run in namespaces of its own, of which nothing stays behind however it ends.
//! **Owns**: the run directory, the run's process, mount and network namespaces, its cgroups.
//! **Reads**: the environment variables in [`variable`].
//! **Writes**: one directory below the temporary directory; cgroups named after the run.
//! **Invariants**: no mount, route or rule is ever made in the namespaces of the caller;
//! whichever of our own processes is killed, the kernel or the next one up clears the rest.
//!
//! One executable plays five roles, told apart by an environment variable:
//!
//! ```text
//! front    what the user started. Holds a pipe to the reaper, waits for it.
//!  └─ reaper   own session. Ends the run when the pipe closes, removes cgroups and directory.
//!      └─ init     first of a new process namespace, dies with the reaper; adopts orphans.
//!          └─ inside   the tests. Its network namespace is the control plane's.
//!              └─ node     first of a node's process namespace, one for each node.
//! ```
//!
//! When the first process of a process namespace ends, the kernel kills all others in it, and
//! mounts and network namespaces vanish with their last process. So a killed run leaves at most
//! a directory and empty cgroups, and those are removed by the reaper, by the front if the
//! reaper was killed, or by [`sweep`] of the next run if both were.

pub mod cgroups;
mod front;
mod init;
pub mod leftovers;
mod owner;
mod reaper;
pub mod sweep;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

/// Environment variables that the roles hand down to each other.
pub mod variable {
    /// Which role this execution plays; absent for the front.
    pub const ROLE: &str = "NODED_TEST_ROLE";
    /// The run directory.
    pub const RUN_DIRECTORY: &str = "NODED_TEST_RUN_DIRECTORY";
    /// Set to keep the run directory on disk instead of a tmpfs.
    pub const ON_DISK: &str = "NODED_TEST_ON_DISK";
    /// What a node's first process has to mount, as JSON.
    pub const NODE_SPACE: &str = "NODED_TEST_NODE_SPACE";
    /// Directory of the built binaries and images.
    pub const GROUND: &str = "NODED_GROUND";
    /// The `noded` binary under test.
    pub const AGENT: &str = "NODED_BIN";
    /// Where logs of failed tests are kept.
    pub const ARTIFACTS: &str = "NODED_ARTIFACTS";
}

/// Names of run directories and cgroups start with this.
pub const PREFIX: &str = "noded-test-";

/// The run that the calling process is inside of.
#[derive(Debug, Clone)]
pub struct Run {
    directory: PathBuf,
    artifacts: PathBuf,
    agent: Option<PathBuf>,
}

impl Run {
    fn from_environment() -> Result<Self> {
        let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
        Ok(Self {
            directory: path(variable::RUN_DIRECTORY).context("not inside a test run")?,
            artifacts: path(variable::ARTIFACTS).context("no directory for artifacts")?,
            agent: path(variable::AGENT),
        })
    }

    /// The directory of this run; a tmpfs that nobody outside sees, unless kept on disk.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory for what a failed test leaves to be read, outside the run.
    #[must_use]
    pub fn artifacts(&self) -> &Path {
        &self.artifacts
    }

    /// The `noded` binary under test, if it was given or could be built.
    #[must_use]
    pub fn agent(&self) -> Option<&Path> {
        self.agent.as_deref()
    }

    /// The name every cgroup of this run starts with, without a slash.
    #[must_use]
    pub fn cgroup_prefix(&self) -> String {
        run_name(&self.directory)
    }
}

/// The last part of a run directory's path: `noded-test-` and the run's own letters.
fn run_name(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs `inside` in an isolated run and returns its exit code to the caller of the outermost
/// execution. Must be the first call of `main`, before any thread exists; needs root.
pub fn isolate(inside: impl FnOnce(Run) -> ExitCode) -> ExitCode {
    let outcome = match std::env::var(variable::ROLE).as_deref() {
        Err(_) => front::run(),
        Ok("reaper") => reaper::run(),
        Ok("init") => init::run(),
        Ok("node") => crate::node_space::run(),
        Ok("inside") => Run::from_environment().map(inside),
        Ok(other) => Err(anyhow::anyhow!("unknown role {other}")),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("test run: {error:#}");
        ExitCode::FAILURE
    })
}

//! The system's journal, read by its own program, started without a shell.

#![allow(clippy::disallowed_methods, reason = "an adapter: it starts journalctl")]

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

const PROGRAM: &str = "journalctl";
/// How long the list of units may take (kubelet v1.36: 30 s for the whole query).
const LIST_DEADLINE: Duration = Duration::from_secs(30);

/// The journal of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Journal;

impl Journal {
    /// The names of the units that have written to the journal, one a line; an error when there is
    /// no journal, or no program to read it with.
    pub async fn units(self) -> io::Result<String> {
        let listed = Command::new(PROGRAM)
            .args(["--field", "_SYSTEMD_UNIT"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let listed = tokio::time::timeout(LIST_DEADLINE, listed).await??;
        if !listed.status.success() {
            return Err(io::Error::other("the journal cannot be read"));
        }
        Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
    }

    /// Starts the program with these arguments; both outputs are pipes. It is killed when the child
    /// is dropped.
    pub fn start(self, arguments: &[String]) -> io::Result<Child> {
        Command::new(PROGRAM)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

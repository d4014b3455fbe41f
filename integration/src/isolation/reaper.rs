//! The process that outlives the front by a moment and clears the run away.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};

use super::{cgroups, owner, run_name, variable};

/// How often the reaper looks whether the run has ended by itself. Its end of the pipe is what
/// it sleeps on, so this bounds only the delay after the last test.
const CHECK_INTERVAL_MS: u16 = 20;

/// How long removal of the directory is tried: lazily released mounts may still hold it.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(10);

pub fn run() -> Result<ExitCode> {
    // A terminal's interrupt goes to the front; the reaper learns of it through the pipe.
    nix::unistd::setsid().context("cannot start a session")?;
    let directory = PathBuf::from(
        std::env::var_os(variable::RUN_DIRECTORY).context("no run directory was given")?,
    );
    owner::claim(&directory).context("cannot mark the run directory")?;
    unshare(CloneFlags::CLONE_NEWPID).context("cannot make a process namespace")?;
    let mut init = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .env(variable::ROLE, "init")
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start the first process of the run")?;
    let code = watch(&mut init)?;
    clear(&directory);
    Ok(ExitCode::from(code))
}

/// Waits until the run ends, or until the front is gone and then ends the run.
fn watch(init: &mut Child) -> Result<u8> {
    let stdin = std::io::stdin();
    loop {
        if let Some(status) = init.try_wait().context("cannot wait for the run")? {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        let mut pipe = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut pipe, PollTimeout::from(CHECK_INTERVAL_MS)).unwrap_or(0);
        if ready > 0 {
            init.kill().context("cannot end the run")?;
            init.wait().context("cannot wait for the run")?;
            return Ok(1);
        }
    }
}

/// Removes the cgroups and the directory of a run whose processes are gone or may be killed.
pub fn clear(directory: &Path) {
    for problem in cgroups::remove_all(&run_name(directory)) {
        eprintln!("test run: {problem}");
    }
    let deadline = Instant::now() + REMOVAL_DEADLINE;
    loop {
        match fs::remove_dir_all(directory) {
            Err(error) if directory.exists() => {
                if Instant::now() > deadline {
                    eprintln!("test run: cannot remove {}: {error}", directory.display());
                    return;
                }
            }
            _ => return,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

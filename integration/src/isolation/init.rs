//! The first process of the run's process namespace.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;

use super::variable;

pub fn run() -> Result<ExitCode> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("cannot follow the reaper")?;
    // The reaper may have died before the line above; then its end of our pipe is closed.
    let stdin = std::io::stdin();
    let mut pipe = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    if poll(&mut pipe, PollTimeout::ZERO).unwrap_or(0) > 0 {
        bail!("the reaper is gone");
    }
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .context("cannot make namespaces")?;
    let directory = std::env::var_os(variable::RUN_DIRECTORY).context("no run directory")?;
    private_mounts(Path::new(&directory))?;

    let inside = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .env(variable::ROLE, "inside")
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start the tests")?;
    let inside = Pid::from_raw(i32::try_from(inside.id()).context("process id")?);
    // Every orphan of the run becomes our child, and is a zombie until it is waited for.
    loop {
        match wait().context("cannot wait for children")? {
            WaitStatus::Exited(id, code) if id == inside => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            WaitStatus::Signaled(id, signal, _) if id == inside => {
                bail!("the tests were ended by {signal}");
            }
            _ => {}
        }
    }
}

/// Cuts this mount namespace off from the caller's, gives it its own `/proc` and puts the run
/// directory on a tmpfs, which vanishes with the namespace.
fn private_mounts(directory: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make the mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)
        .context("cannot mount /proc")?;
    if std::env::var_os(variable::ON_DISK).is_none() {
        mount(Some("noded-test"), directory, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .context("cannot mount the run directory")?;
    }
    std::fs::create_dir_all(directory.join("tmp")).context("cannot make a temporary directory")
}

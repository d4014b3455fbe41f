//! The process the user started: prepares what needs the network or a compiler, then waits.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use super::{leftovers, owner, reaper, run_name, sweep, variable};
use crate::ground;

pub fn run() -> Result<ExitCode> {
    ensure!(nix::unistd::geteuid().is_root(), "namespaces, cgroups and containers need root");
    sweep::sweep();
    let ground = ground::locate()?;
    let agent = agent_binary();
    let directory = tempfile::Builder::new()
        .prefix(super::PREFIX)
        .tempdir()
        .context("cannot create the run directory")?
        .keep();
    owner::claim(&directory).context("cannot mark the run directory")?;

    let mut reaper = Command::new("/proc/self/exe");
    reaper
        .args(std::env::args_os().skip(1))
        .env(variable::ROLE, "reaper")
        .env(variable::RUN_DIRECTORY, &directory)
        .env(variable::GROUND, ground)
        .env(variable::ARTIFACTS, artifacts_directory())
        // Runs inside this run must not take our directory for one of theirs.
        .env("TMPDIR", directory.join("tmp"))
        .stdin(Stdio::piped());
    if let Some(agent) = agent {
        reaper.env(variable::AGENT, agent);
    }
    let mut reaper = reaper.spawn().context("cannot start the reaper")?;
    // Held until the reaper ends: its closing is how the reaper learns that we were killed.
    let pipe = reaper.stdin.take();
    let status = reaper.wait().context("cannot wait for the reaper")?;
    drop(pipe);

    if status.code().is_none() {
        reaper::clear(&directory);
    }
    let left = leftovers::of_run(&run_name(&directory));
    for line in &left {
        eprintln!("left behind: {line}");
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(if left.is_empty() { ExitCode::from(code) } else { ExitCode::FAILURE })
}

/// The target directory this executable was built in: `TARGET/PROFILE/deps/NAME`.
fn target_directory() -> Option<PathBuf> {
    let executable = std::env::current_exe().ok()?;
    Some(executable.parent()?.parent()?.parent()?.to_owned())
}

fn artifacts_directory() -> OsString {
    std::env::var_os(variable::ARTIFACTS).unwrap_or_else(|| {
        let target = target_directory().unwrap_or_else(std::env::temp_dir);
        target.join("noded-artifacts").into_os_string()
    })
}

/// The binary under test: the one named by the environment, else built beside this executable.
/// `None` when it cannot be built; tests that need it say so.
fn agent_binary() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os(variable::AGENT) {
        return std::path::absolute(given).ok();
    }
    let target = target_directory()?;
    let profile = if target_profile_is_release(&target) { "release" } else { "debug" };
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--package", "agent", "--bin", "noded", "--target-dir"])
        .arg(&target);
    if profile == "release" {
        cargo.arg("--release");
    }
    let built = cargo.stdin(Stdio::null()).status().is_ok_and(|status| status.success());
    built.then(|| target.join(profile).join("noded"))
}

fn target_profile_is_release(target: &Path) -> bool {
    std::env::current_exe().is_ok_and(|path| path.starts_with(target.join("release")))
}

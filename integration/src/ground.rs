//! Where the built surroundings are: control plane, containerd, CNI plugins and test images.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::isolation::variable;

/// Which containerd a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lane {
    /// The newest containerd, built by `scripts/ground`.
    #[default]
    Main,
    /// containerd 1.6 as Debian 12 ships it.
    Debian,
}

/// The directory that `scripts/ground` fills.
#[derive(Debug, Clone)]
pub struct Ground {
    directory: PathBuf,
}

impl Ground {
    /// The directory named by the environment variable `NODED_GROUND`.
    pub fn from_environment() -> Result<Self> {
        let directory = std::env::var_os(variable::GROUND).context("NODED_GROUND is not set")?;
        Ok(Self { directory: directory.into() })
    }

    /// Path of a binary of the main lane, for example `etcd`.
    #[must_use]
    pub fn binary(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    /// Folder with containerd, its shim, runc and ctr of a lane.
    #[must_use]
    pub fn runtime_binaries(&self, lane: Lane) -> PathBuf {
        match lane {
            Lane::Main => self.directory.join("bin"),
            Lane::Debian => self.directory.join("debian"),
        }
    }

    /// Folder with the CNI plugins of a lane.
    #[must_use]
    pub fn cni_plugins(&self, lane: Lane) -> PathBuf {
        match lane {
            Lane::Main => self.directory.join("cni"),
            Lane::Debian => self.directory.join("debian/cni"),
        }
    }

    /// Path of the archive of an image, for example `pause`.
    #[must_use]
    pub fn image_archive(&self, name: &str) -> PathBuf {
        self.directory.join("images").join(format!("{name}.tar"))
    }

    /// The top of it all.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The directory with everything built: the one named by the environment, else what
/// `scripts/ground` prints after building what is missing.
pub fn locate() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(variable::GROUND) {
        return Ok(std::path::absolute(given)?);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/ground");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(output.status.success(), "{} failed: {}", script.display(), output.status);
    let printed = String::from_utf8(output.stdout).context("the printed directory is no text")?;
    let last = printed.lines().last().context("scripts/ground printed nothing")?;
    Ok(PathBuf::from(last.trim()))
}

//! What nftables mode needs of the machine.

use std::fmt;

use super::boundary::{Nft, NftError};
use crate::machine::Machine;

/// The oldest kernel (kube-proxy, v1.36).
pub const KERNEL_FLOOR: Release = Release { major: 5, minor: 13, patch: 0 };
/// The oldest nft that can write our rules. Up to 1.0.2 no random number can be part of a key, and
/// up to 1.0.5 what rules put into a map never times out. kube-proxy v1.36, with another layout,
/// is content with 1.0.1.
pub const NFT_FLOOR: Release = Release { major: 1, minor: 0, patch: 6 };
/// Any value but the empty one of this variable lets every kernel pass (kube-proxy, v1.36).
pub const SKIP_KERNEL_CHECK: &str = "KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK";

/// A release number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// Major.
    pub major: u16,
    /// Minor.
    pub minor: u16,
    /// Patch; 0 when there is none.
    pub patch: u16,
}

impl Release {
    /// The release in a text such as `6.1.0-13-amd64`, `6.18-rc2` or `nftables v1.0.6 (Name)`:
    /// its first word that begins with a digit, or with `v` and a digit.
    pub fn find(text: &str) -> Option<Self> {
        let words = text.split_whitespace().map(|word| word.strip_prefix('v').unwrap_or(word));
        let word = words.into_iter().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let end = word.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(word.len());
        let mut numbers = word.get(..end)?.split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { major: next()?, minor: next()?, patch: next().unwrap_or(0) })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What the machine has.
#[derive(Debug)]
pub struct FloorFacts {
    /// The kernel; nothing when its release cannot be read.
    pub kernel: Option<Release>,
    /// Whether the release of the kernel does not matter.
    pub any_kernel: bool,
    /// The tool, or why it does not work.
    pub nft: Result<Release, NftError>,
}

impl FloorFacts {
    /// Asks the machine and the tool. The tool has to work on the kernel, not only to start.
    pub async fn gather(machine: &dyn Machine, nft: &dyn Nft) -> Self {
        let kernel = machine.read_setting("kernel/osrelease").ok();
        Self {
            kernel: kernel.as_deref().and_then(Release::find),
            any_kernel: std::env::var_os(SKIP_KERNEL_CHECK).is_some_and(|value| !value.is_empty()),
            nft: async {
                let version = nft.version().await?;
                nft.exists().await?;
                Ok(version)
            }
            .await,
        }
    }

    /// Kernel and tool, if both are new enough.
    pub fn check(self) -> Result<Fit, FloorError> {
        if !self.any_kernel {
            match self.kernel {
                Some(found) if found < KERNEL_FLOOR => return Err(FloorError::Kernel { found }),
                Some(_) => {}
                None => return Err(FloorError::UnknownKernel),
            }
        }
        let nft = self.nft.map_err(FloorError::NoTool)?;
        if nft < NFT_FLOOR {
            return Err(FloorError::Tool { found: nft });
        }
        Ok(Fit { kernel: self.kernel, nft })
    }
}

/// A machine that is fit for nftables mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The kernel, as far as known.
    pub kernel: Option<Release>,
    /// The tool.
    pub nft: Release,
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kernel {
            Some(kernel) => write!(f, "kernel {kernel}, nft {}", self.nft),
            None => write!(f, "nft {}", self.nft),
        }
    }
}

/// The machine is not fit for nftables mode.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// The kernel is too old.
    #[error("the kernel is {found}, nftables mode needs {KERNEL_FLOOR} or newer")]
    Kernel {
        /// What runs.
        found: Release,
    },
    /// The kernel does not tell its release.
    #[error("the release of the kernel is not known, nftables mode needs {KERNEL_FLOOR} or newer")]
    UnknownKernel,
    /// The tool is too old.
    #[error("nft is {found}, nftables mode needs {NFT_FLOOR} or newer")]
    Tool {
        /// What is installed.
        found: Release,
    },
    /// The tool does not work.
    #[error("nft does not work, nftables mode needs {NFT_FLOOR} or newer")]
    NoTool(#[source] NftError),
}

#[cfg(test)]
mod tests;

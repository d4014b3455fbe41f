//! Kernel settings that pods rely on, and noded's own place in the out-of-memory order.

use std::io;
use std::path::PathBuf;

use super::proc_parse::parse_swaps;

/// The settings the kubelet insists on (kubelet v1.36, `pkg/util/sysctl/sysctl.go`).
const TUNABLES: [(&str, i64); 6] = [
    ("vm/overcommit_memory", 1),
    ("vm/panic_on_oom", 0),
    ("kernel/panic", 10),
    ("kernel/panic_on_oops", 1),
    ("kernel/keys/root_maxkeys", 1_000_000),
    ("kernel/keys/root_maxbytes", 25_000_000),
];

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// One line for each setting that is not as it must be.
    #[error("kernel settings are not as the node needs them: {}", .0.join("; "))]
    Tunables(Vec<String>),
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "running with swap on is not supported, disable swap or set failSwapOn to false; swap is \
         on {}",
        .0.join(", ")
    )]
    SwapOn(Vec<String>),
}

/// What became of the wish for an oom score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomScore {
    Set,
    /// The kernel does not let this process lower its score; it keeps the one named.
    Kept(i32),
}

/// /proc as far as it is settings.
#[derive(Clone, Debug)]
pub struct Kernel {
    proc: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Kernel {
    /// Reads and writes below `proc` in place of `/proc`.
    pub fn at(proc: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into() }
    }

    /// Brings the kernel's settings to the needed values, or with `only_check`
    /// (`protectKernelDefaults`) errors when one differs. Tries all and names every failure.
    pub fn apply_tunables(&self, only_check: bool) -> Result<(), KernelError> {
        let mut problems = Vec::new();
        for (name, wanted) in TUNABLES {
            let path = self.proc.join("sys").join(name);
            let dotted = name.replace('/', ".");
            let actual = match std::fs::read_to_string(&path) {
                Ok(text) => text.trim().to_owned(),
                Err(error) => {
                    problems.push(format!("{dotted} cannot be read: {error}"));
                    continue;
                }
            };
            if actual == wanted.to_string() {
                continue;
            }
            if only_check {
                problems.push(format!("{dotted} is {actual}, expected {wanted}"));
                continue;
            }
            tracing::info!(setting = %dotted, from = %actual, to = wanted, "changing kernel setting");
            if let Err(error) = std::fs::write(&path, wanted.to_string()) {
                problems.push(format!("{dotted} cannot be set to {wanted}: {error}"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(KernelError::Tunables(problems)) }
    }

    /// Sets the oom score adjustment of this process, -1000 (never killed) to 1000. Lowering it
    /// needs a privilege (`CAP_SYS_RESOURCE`); without it the score stays.
    pub fn set_own_oom_score_adj(&self, score: i32) -> Result<OomScore, KernelError> {
        let path = self.proc.join("self/oom_score_adj");
        let io_error = |action: &'static str| {
            let path = path.display().to_string();
            move |source| KernelError::Io { action, path, source }
        };
        let text = std::fs::read_to_string(&path).map_err(io_error("read"))?;
        let current = text.trim().parse::<i32>().unwrap_or(0);
        if current == score {
            return Ok(OomScore::Set);
        }
        match std::fs::write(&path, score.to_string()) {
            Ok(()) => Ok(OomScore::Set),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(OomScore::Kept(current))
            }
            Err(error) => Err(io_error("write")(error)),
        }
    }

    /// Errors with the devices when the machine swaps. A kernel without swap has no list.
    pub fn check_swap_off(&self) -> Result<(), KernelError> {
        let path = self.proc.join("swaps");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                let path = path.display().to_string();
                return Err(KernelError::Io { action: "read", path, source });
            }
        };
        let devices = parse_swaps(&text);
        if devices.is_empty() { Ok(()) } else { Err(KernelError::SwapOn(devices)) }
    }
}

#[cfg(test)]
mod tests;

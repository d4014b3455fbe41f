//! Exit codes: what an operator or a unit file can tell apart.

/// Why the process ends early. The number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitReason {
    /// Something that was running ended unexpectedly; a restart is the cure.
    Unexpected = 1,
    /// The command line cannot be read.
    Usage = 2,
    /// A configuration file or a value in it is wrong.
    Configuration = 3,
    /// A kubeconfig is missing or cannot be used.
    Credentials = 4,
    /// The machine lacks something or forbids it: cgroups, swap, rights.
    Machine = 5,
    /// The container runtime never answered, or does not speak CRI v1.
    Runtime = 6,
    /// The API server cannot be reached, or refuses; only commands that look once give up on it.
    ApiServer = 7,
    /// What a command was asked about does not exist.
    NotFound = 8,
}

/// An error that ends the process, with the exit code that says what kind it is.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fatal {
    pub reason: ExitReason,
    pub message: String,
}

impl Fatal {
    /// `message` says what is wrong and how to mend it, in one line.
    pub fn new(reason: ExitReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

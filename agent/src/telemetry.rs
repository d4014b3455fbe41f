//! Logging: one line per fact on standard error, where the journal picks it up.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tracing_subscriber::{EnvFilter, reload};

/// Starts logging. `verbosity` counts as the kubelet's `-v`: 0 to 3 shows information, 4 and 5
/// debugging, above that everything. `NODED_LOG` overrides it with a filter of its own. What is
/// returned changes it later.
pub fn start(verbosity: u8) -> LogVerbosity {
    let filter =
        EnvFilter::try_from_env("NODED_LOG").unwrap_or_else(|_| filter_of(verbosity.into()));
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    if under_systemd {
        let builder = builder.without_time().with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        LogVerbosity::new(move |level| Ok(handle.reload(filter_of(level))?))
    } else {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        LogVerbosity::new(move |level| Ok(handle.reload(filter_of(level))?))
    }
}

/// What is logged at this verbosity.
fn filter_of(verbosity: u32) -> EnvFilter {
    let level = match verbosity {
        0..=3 => "info",
        4 | 5 => "debug",
        _ => "trace",
    };
    // The client logs whole response bodies at warn when one cannot be decoded; Secrets are among
    // them. The HTTP/2 stack has nothing to say to an operator.
    let quiet =
        "kube_client=error,h2=warn,hyper=warn,hyper_util=warn,rustls=warn,reqwest=warn,tower=warn";
    EnvFilter::new(format!("{level},{quiet}"))
}

/// Why the verbosity stays as it is.
#[derive(Debug, thiserror::Error)]
#[error("cannot change what is logged")]
pub struct VerbosityError(#[from] reload::Error);

type SetVerbosity = dyn Fn(u32) -> Result<(), VerbosityError> + Send + Sync;

/// Changes how much is logged. Cheap to clone.
#[derive(Clone)]
pub struct LogVerbosity(Arc<SetVerbosity>);

impl LogVerbosity {
    /// One that is changed by `set`.
    pub fn new(set: impl Fn(u32) -> Result<(), VerbosityError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(set))
    }

    /// From now on as much is logged as the kubelet does at this `-v`; in place of `NODED_LOG`, too.
    pub fn set(&self, verbosity: u32) -> Result<(), VerbosityError> {
        (self.0)(verbosity)
    }
}

/// Displays an error with all its causes, `outer: inner: innermost`.
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

//! Logging: one line per fact on standard error, where the journal picks it up.

use std::error::Error;
use std::fmt;

use tracing_subscriber::EnvFilter;

/// Starts logging. `verbosity` counts as the kubelet's `-v`: 0 to 3 shows information, 4 and 5
/// debugging, above that everything. `NODED_LOG` overrides it with a filter of its own.
pub fn start(verbosity: u8) {
    let level = match verbosity {
        0..=3 => "info",
        4 | 5 => "debug",
        _ => "trace",
    };
    // The client logs whole response bodies at warn when one cannot be decoded; Secrets are among
    // them. The HTTP/2 stack has nothing to say to an operator.
    let quiet =
        "kube_client=error,h2=warn,hyper=warn,hyper_util=warn,rustls=warn,reqwest=warn,tower=warn";
    let filter = EnvFilter::try_from_env("NODED_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},{quiet}")));
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    if under_systemd {
        builder.without_time().init();
    } else {
        builder.init();
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

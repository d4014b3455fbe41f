//! The binary: reads the command line, runs the daemon, turns its end into an exit code.

use std::io::Write;
use std::process::ExitCode;

use agent::cli::{self, Invocation};
use agent::exit::{ExitReason, Fatal};
use agent::{commands, startup, telemetry};

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    match cli::parse(&program, &arguments) {
        Ok(Invocation::Print(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Invocation::Run(run)) => {
            let verbosity = telemetry::start(run.verbosity);
            end(startup::run(*run, verbosity))
        }
        Ok(Invocation::See(see)) => {
            let mut said = String::new();
            let result = commands::run(*see, &mut said);
            let _ = std::io::stdout().write_all(said.as_bytes());
            match result {
                Ok(code) => ExitCode::from(code),
                Err(fatal) => end(Err(fatal.into())),
            }
        }
        Err(message) => end(Err(Fatal::new(ExitReason::Usage, message).into())),
    }
}

/// One line for the operator and the exit code that goes with it.
fn end(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let reason = error.downcast_ref::<Fatal>().map_or(ExitReason::Unexpected, |fatal| fatal.reason);
    let _ = writeln!(std::io::stderr(), "noded: {error:#}");
    ExitCode::from(reason as u8)
}

//! Commands that look once and end.
//!
//! **What.** `noded rules` and `noded explain`: what the proxy plans, what is live, and why.
//! **Owns.** Nothing.
//! **Reads.** The settings of the installed service, one list of Services, EndpointSlices and the
//! Node, the kernel's rules and connections.
//! **Writes.** Nothing, but for `rules cleanup`, which removes the proxy's rules.
//! **Invariants.** They work whether noded runs or not, and never talk to it. A failure is one
//! line that says what to do, and an exit code that tells what kind it is.

mod explain;
mod facts;
mod rules;
mod settings;

use crate::cli::{Asked, Output, SeeArguments};
use crate::exit::{ExitReason, Fatal};

/// Carries a command out. `said` gets what belongs on standard output, also when the command
/// fails half way. Returns the exit code: 0, or 1 for rules that differ.
pub fn run(arguments: SeeArguments, said: &mut String) -> Result<u8, Fatal> {
    // Whoever was first is as good: there is one provider in this program.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fatal::new(ExitReason::Machine, error.to_string()))?;
    let result = runtime.block_on(carry_out(arguments, said));
    runtime.shutdown_background();
    result
}

async fn carry_out(arguments: SeeArguments, said: &mut String) -> Result<u8, Fatal> {
    let SeeArguments { settings, output, asked } = arguments;
    match asked {
        Asked::RulesShow { service } => rules::show(&settings, service, output, said).await,
        Asked::RulesDiff => rules::diff(&settings, output, said).await,
        Asked::RulesCleanup => rules::cleanup(said).await,
        Asked::Service { service, from } => {
            explain::service(&settings, (&service, from), output, said).await
        }
        Asked::Packet { source, destination, protocol, interface } => {
            let packet = explain::AskedPacket { source, destination, protocol, interface };
            explain::packet(&settings, &packet, output, said).await
        }
    }
}

/// A report in the form that was asked for.
fn print<T: serde::Serialize>(
    said: &mut String,
    output: Output,
    report: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Fatal> {
    match output {
        Output::Text => said.push_str(&text(report)),
        Output::Json => {
            let json = serde_json::to_string_pretty(report)
                .map_err(|error| Fatal::new(ExitReason::Machine, error.to_string()))?;
            said.push_str(&json);
            said.push('\n');
        }
    }
    Ok(())
}

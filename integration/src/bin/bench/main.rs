//! Measures noded, the upstream kubelet and kube-proxy, and a client that only makes the same CRI
//! calls, one after the other on equal nodes of one cluster.
//!
//! Started by `scripts/bench`. `pod-start` measures how long pods take to be Ready, `idle` what an
//! agent costs while nothing happens. `--quick` makes a short run, to see that it works.

mod audit;
mod bare;
mod cri_log;
mod idle;
mod pod_start;
mod subject;
mod table;
mod usage;

use std::process::ExitCode;

use anyhow::{Result, bail};
use integration::console::print;
use integration::isolation::{self, Run};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Whole,
    Quick,
}

fn main() -> ExitCode {
    isolation::isolate(|run| match work(&run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&format!("\nbench: FAILED: {error:#}\n"));
            ExitCode::FAILURE
        }
    })
}

#[tokio::main]
async fn work(run: &Run) -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let extent = if quick { Extent::Quick } else { Extent::Whole };
    match arguments.first().map(String::as_str) {
        Some("pod-start") => pod_start::run(run, extent).await,
        Some("idle") => idle::run(run, extent).await,
        _ => bail!("say what to measure: pod-start or idle"),
    }
}

//! Measures noded, the upstream kubelet and kube-proxy, and a client that only makes the same CRI
//! calls, one after the other on equal nodes of one cluster.
//!
//! Started by `scripts/bench`. `pod-start` measures how long pods take to be Ready, `pod-volumes`
//! what their volumes add to that, `pod-density` a node that is filled and emptied at once, `idle` what an agent costs while nothing happens,
//! `logs` reading a large log and following many, `proxy` the rules of Services beside the upstream kube-proxy.
//! `--quick` makes a short run, to see that it works; `pod-density` takes `--pods N` too.

mod audit;
mod bare;
mod cri_log;
mod idle;
mod logs;
mod pod_density;
mod pod_start;
mod pod_volumes;
mod proxy;
mod subject;
mod table;
mod usage;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use integration::console::print;
use integration::isolation::{self, Run};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Whole,
    Quick,
}

impl Extent {
    /// Pods on a full node: the kubelet's default limit (v1.36, `maxPods`).
    fn pods(self) -> usize {
        match self {
            Self::Whole => 110,
            Self::Quick => 10,
        }
    }
}

/// The number after `--pods`.
fn pods(arguments: &[String]) -> Result<Option<usize>> {
    let Some(at) = arguments.iter().position(|argument| argument == "--pods") else {
        return Ok(None);
    };
    let number = arguments.get(at + 1).context("--pods needs a number")?;
    number.parse().map(Some).with_context(|| format!("--pods {number}"))
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
        Some("pod-volumes") => pod_volumes::run(run, extent).await,
        Some("pod-density") => {
            pod_density::run(run, pods(&arguments)?.unwrap_or(extent.pods())).await
        }
        Some("idle") => idle::run(run, extent).await,
        Some("logs") => logs::run(run, extent).await,
        Some("proxy") => proxy::run(run, &arguments[1..]).await,
        _ => bail!("say what to measure: pod-start, pod-volumes, pod-density, idle, logs or proxy"),
    }
}

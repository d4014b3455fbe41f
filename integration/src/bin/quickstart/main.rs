//! A cluster of one noded node that runs a Service, to look at.
//!
//! Started by `scripts/quickstart`. With `--once` it ends when everything was seen; otherwise it
//! goes on until it is interrupted. The exit code says whether everything was seen.

mod chains;
mod demo;
mod progress;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use integration::console::print;
use integration::isolation::{self, Run};
use integration::node::{Node, NodeOptions};
use integration::real_cluster::Cluster;

use progress::Progress;

/// How often the running node is looked at until somebody interrupts.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let once = std::env::args().skip(1).any(|argument| argument == "--once");
    isolation::isolate(|run| match work(&run, once) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&format!("\nquickstart: FAILED: {error:#}\n"));
            ExitCode::FAILURE
        }
    })
}

#[tokio::main]
async fn work(run: &Run, once: bool) -> Result<()> {
    let mut progress = Progress::start();
    progress.step("control plane: etcd, API server, controller manager, scheduler", 6);
    let cluster = Cluster::start(run).await?;
    progress.step("machine: namespaces, network, containerd with its images", 3);
    let node = Arc::new(Node::start(&cluster, "node-1", NodeOptions::default()).await?);
    progress.step("noded: registers the node and becomes Ready", 3);
    node.start_agent()?;
    node.join().await?;
    demo::run(&cluster, &node, &mut progress).await?;
    progress.done();
    if once {
        print("Everything was seen. Cleaning up.\n");
        return Ok(());
    }
    print(&look_around(&cluster));
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        node.agent()?.expect_running().context("noded ended")?;
    }
}

fn look_around(cluster: &Cluster) -> String {
    format!(
        "Everything was seen, and the cluster goes on until you press Ctrl-C.\n\
         Look around from another terminal:\n\n\
         \x20 scripts/quickstart kubectl get pods -A -o wide\n\
         \x20 scripts/quickstart kubectl -n {} scale deployment {} --replicas=5\n\
         \x20 scripts/quickstart node iptables -t nat -S KUBE-SERVICES\n\
         \x20 scripts/quickstart node            (a shell on the node)\n\n\
         The kubeconfig of the administrator, seen from inside: {}\n",
        demo::NAMESPACE,
        demo::APP,
        cluster.admin_kubeconfig().display(),
    )
}

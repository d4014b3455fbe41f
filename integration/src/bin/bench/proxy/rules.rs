//! The rules themselves: whether they are complete, when one of them appears, and what the plain
//! tools take to write the same ones.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use integration::namespaces::Namespaces;
use integration::proxy_host::{Flavour, ProxyHost};
use integration::wait::{self, Look};
use netproxy::input::{ObjectKey, Protocol};
use netproxy::model::service_port::ServicePortName;
use netproxy::rules::chains;

use super::fixture::{NAMESPACE, TARGET_PORT};
use super::options::Mode;

/// The table of kube-proxy in nftables mode (v1.36).
const TABLE: &str = "kube-proxy";

/// All rules of a proxy as its mode's tool prints them.
pub async fn dump(host: &ProxyHost, mode: Mode) -> Result<String> {
    match mode {
        Mode::Iptables(_) => host.output("iptables-save", &[]).await,
        Mode::Nftables => host.output("nft", &["list", "table", "ip", TABLE]).await,
    }
}

/// Waits until the rules mention all these addresses.
pub async fn complete(
    host: &ProxyHost,
    mode: Mode,
    addresses: &[Ipv4Addr],
    limit: Duration,
) -> Result<()> {
    wait::until("complete rules", limit, || async {
        host.expect_running()?;
        let text = dump(host, mode).await?;
        let found = mentioned(&text);
        let missing = addresses.iter().filter(|address| !found.contains(address)).count();
        Ok(match missing {
            0 => Look::Met(()),
            _ => Look::NotYet(format!("{missing} of {} addresses are missing", addresses.len())),
        })
    })
    .await
}

/// All IPv4 addresses in a text.
fn mentioned(text: &str) -> HashSet<Ipv4Addr> {
    let words = text.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    words.filter_map(|word| word.parse().ok()).collect()
}

/// The rules without the matches that count packets in objects which an empty namespace lacks.
fn without_counters(rules: &str) -> String {
    const MATCH: &str = "-m nfacct --nfacct-name ";
    let mut parts = rules.split(MATCH);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // iptables prints a second space before the name.
        text += part.trim_start().split_once(' ').map_or("", |(_, rest)| rest);
    }
    text
}

/// Waits for the rule of one endpoint of the Service `probe`; made before the endpoint is.
///
/// For iptables by asking for the endpoint's chain again and again, which costs the legacy flavour
/// a look at the whole table; for nftables by the kernel's notifications.
pub enum RuleWatch {
    Chain { host: Arc<ProxyHost>, chain: String },
    Notifications { monitor: Child, endpoint: Ipv4Addr },
}

impl Drop for RuleWatch {
    fn drop(&mut self) {
        if let Self::Notifications { monitor, .. } = self {
            let _ = monitor.kill();
            let _ = monitor.wait();
        }
    }
}

impl RuleWatch {
    pub fn new(host: &Arc<ProxyHost>, mode: Mode, endpoint: Ipv4Addr) -> Result<Self> {
        if mode != Mode::Nftables {
            let port = ServicePortName {
                service: ObjectKey::new(NAMESPACE, "probe"),
                port: "http".into(),
                protocol: Protocol::Tcp,
            };
            let chain = chains::endpoint_chain(&port, &format!("{endpoint}:{TARGET_PORT}"));
            return Ok(Self::Chain { host: Arc::clone(host), chain: chain.to_string() });
        }
        let mut command = host.tool("nft");
        command.arg("monitor").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let monitor = host.namespaces().spawn(&mut command)?;
        // It says nothing when it has begun to listen.
        thread::sleep(Duration::from_millis(200));
        Ok(Self::Notifications { monitor, endpoint })
    }

    /// When the rule was there; errors after `limit`.
    pub async fn appeared(mut self, limit: Duration) -> Result<Instant> {
        match &mut self {
            Self::Chain { host, chain } => {
                wait::until("chain of the endpoint", limit, || async {
                    let found = host.output("iptables", &["-w", "-t", "nat", "-S", chain]).await;
                    Ok(match found {
                        Ok(_) => Look::Met(Instant::now()),
                        Err(error) => Look::NotYet(error.to_string()),
                    })
                })
                .await
            }
            Self::Notifications { monitor, endpoint } => {
                let printed = monitor.stdout.take().context("no pipe from nft monitor")?;
                let wanted = *endpoint;
                let reader = tokio::task::spawn_blocking(move || {
                    for line in BufReader::new(printed).lines() {
                        if mentioned(&line?).contains(&wanted) {
                            return Ok(Instant::now());
                        }
                    }
                    bail!("nft monitor ended")
                });
                tokio::time::timeout(limit, reader).await.context("no notification")??
            }
        }
    }
}

/// What one tool took for the same rules.
pub struct Baseline {
    pub what: &'static str,
    pub took: Duration,
}

/// Times the tools of a mode on the rules that a proxy wrote: each into an empty namespace.
pub async fn baselines(mode: Mode, rules: &str, directory: &Path) -> Result<Vec<Baseline>> {
    let file = directory.join("rules");
    std::fs::write(&file, without_counters(rules))?;
    let runs: &[(&str, &str, &[&str])] = match mode {
        Mode::Iptables(Flavour::Legacy) => &[
            ("iptables-legacy-restore", "iptables-legacy-restore", &[]),
            ("iptables-legacy-restore --noflush", "iptables-legacy-restore", &["--noflush"]),
        ],
        Mode::Iptables(Flavour::Nft) => &[
            ("iptables-nft-restore", "iptables-nft-restore", &[]),
            ("iptables-nft-restore --noflush", "iptables-nft-restore", &["--noflush"]),
        ],
        Mode::Nftables => &[("nft -f", "nft", &["-f", "-"])],
    };
    let mut timed = Vec::new();
    for (what, tool, args) in runs {
        let namespaces = Namespaces::new_network()?;
        let input = File::open(&file)?;
        let took = tokio::task::spawn_blocking(move || {
            namespaces.run(|| {
                let began = Instant::now();
                let output = Command::new(tool).args(*args).stdin(input).output()?;
                if !output.status.success() {
                    bail!("{tool}: {}", String::from_utf8_lossy(&output.stderr));
                }
                Ok(began.elapsed())
            })
        });
        timed.push(Baseline { what, took: took.await?? });
    }
    Ok(timed)
}

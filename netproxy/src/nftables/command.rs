//! nftables through its tool, and through netlink where that is much cheaper.
//!
//! Measured at 10 000 services with two endpoints each: one changed endpoint takes the tool 14 ms,
//! for it reads the whole map first, and the kernel alone a fraction of a millisecond.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::boundary::{LiveTable, Nft, NftError};
use super::diff::NftDiff;
use super::floor::Release;
use super::netlink::NetlinkTable;
use super::parse::parse_table;
use super::render::{family_name, render_diff, render_full, render_removal, render_stale_chains};
use super::state::{ChainName, NftState, TABLE};
use crate::config::IpFamily;
use crate::interference::OwnWriters;

const COMMAND: &str = "nft";
/// Time for a dump or a transaction. A table of 100 000 services takes some seconds.
const LIMIT: Duration = Duration::from_secs(300);
/// Most elements in a batch of ours; more fill the socket's buffer, and the tool is fast enough.
const NETLINK_ELEMENTS: usize = 2000;
/// Characters quoted of an input line; one line may hold hundreds of elements.
const QUOTED: usize = 160;

/// The tool, found through `PATH`, and the kernel.
pub struct NftCommand {
    family: IpFamily,
    own: OwnWriters,
    netlink: NetlinkTable,
}

impl NftCommand {
    /// For the table of that family, in the network namespace of the caller. What is written is
    /// noted in `own`.
    pub fn new(family: IpFamily, own: OwnWriters) -> Self {
        Self { family, netlink: NetlinkTable::new(family, own.clone()), own }
    }

    /// Applies a script as one transaction.
    async fn run(&self, script: &str) -> Result<(), NftError> {
        self.call(&["-f", "-"], script).await.map(drop)
    }

    /// Runs the tool with `input` on its standard input; what it printed on success.
    async fn call(&self, arguments: &[&str], input: &str) -> Result<Vec<u8>, NftError> {
        let mut child = Command::new(COMMAND)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| NftError::Start { command: COMMAND, source })?;
        if let Some(pid) = child.id() {
            self.own.note(pid);
        }
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A tool that gives up early closes the pipe; its message says more than ours.
                let _ = stdin.write_all(input.as_bytes()).await;
                let _ = stdin.shutdown().await;
            }
        };
        let talk = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(LIMIT, talk)
            .await
            .map_err(|_| NftError::Deadline { command: COMMAND, limit: LIMIT })?
            .map_err(|source| NftError::Talk { command: COMMAND, source })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(NftError::Failed {
            status: output.status.to_string(),
            message: first_complaint(&String::from_utf8_lossy(&output.stderr), input),
        })
    }
}

/// The first complaint of nft, such as `/dev/stdin:7:16-25: Error: No such file or directory`,
/// without the place but with that part of the input; the whole message when it is none of those.
fn first_complaint(message: &str, input: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    let complaint = || {
        let (place, said) = line.split_once(": ")?;
        let (rest, columns) = place.rsplit_once(':')?;
        let number: usize = rest.rsplit_once(':')?.1.parse().ok()?;
        let column: usize = columns.split('-').next()?.parse().ok()?;
        let line = input.lines().nth(number.checked_sub(1)?)?;
        let part: String = line.chars().skip(column.checked_sub(1)?).take(QUOTED).collect();
        let head: String = line.chars().take(column - 1).take(QUOTED).collect();
        Some(format!("{} ({head}>>{part})", said.trim_start_matches("Error: ")))
    };
    complaint().unwrap_or_else(|| message.trim().chars().take(1000).collect())
}

#[async_trait]
impl Nft for NftCommand {
    async fn replace(&self, wanted: &NftState) -> Result<(), NftError> {
        self.run(&render_full(wanted)).await
    }

    async fn update(&self, changes: &NftDiff) -> Result<(), NftError> {
        let no_chains = changes.chains.is_empty() && changes.gone_chains.is_empty();
        if no_chains && changes.elements.len() <= NETLINK_ELEMENTS {
            return self.netlink.change_elements(&changes.elements).await;
        }
        self.run(&render_diff(changes, self.family).text).await
    }

    async fn delete_chains(&self, chains: &BTreeSet<ChainName>) -> Result<(), NftError> {
        let emptied = NftDiff { gone_chains: chains.clone(), ..NftDiff::default() };
        let mut script = render_diff(&emptied, self.family).text;
        script.push_str(&render_stale_chains(chains, self.family));
        self.run(&script).await
    }

    async fn read(&self) -> Result<LiveTable, NftError> {
        if !self.exists().await? {
            return Ok(LiveTable::Missing);
        }
        let place = ["--numeric-priority", "list", "table", family_name(self.family), TABLE];
        let text = self.call(&place, "").await?;
        Ok(match parse_table(&String::from_utf8_lossy(&text), self.family) {
            Ok(state) => LiveTable::Ours(state),
            Err(problem) => LiveTable::Foreign(problem.to_string()),
        })
    }

    async fn exists(&self) -> Result<bool, NftError> {
        self.netlink.exists().await
    }

    async fn remove(&self) -> Result<bool, NftError> {
        let there = self.exists().await?;
        if there {
            self.run(&render_removal(self.family)).await?;
        }
        Ok(there)
    }

    async fn version(&self) -> Result<Release, NftError> {
        let out = self.call(&["--version"], "").await?;
        let line = String::from_utf8_lossy(&out);
        Release::find(&line).ok_or_else(|| NftError::Failed {
            status: "an unknown version".to_owned(),
            message: line.trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;

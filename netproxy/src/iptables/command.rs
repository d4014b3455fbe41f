//! iptables through its binaries.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::boundary::{Iptables, IptablesError, Version};
use crate::config::IpFamily;
use crate::rules::ruleset::Table;

/// Seconds to wait for the lock of legacy iptables (kube-proxy, v1.36).
const LOCK_SECONDS: &str = "5";
/// Time for a dump or a restore. A table of 100 000 services takes tens of seconds to write.
const BATCH_LIMIT: Duration = Duration::from_secs(300);
/// Time for a single check or insertion, waiting for the lock included.
const SINGLE_LIMIT: Duration = Duration::from_secs(30);

/// The binaries of one family, found through `PATH`.
#[derive(Clone, Copy, Debug)]
pub struct IptablesCommand {
    family: IpFamily,
}

impl IptablesCommand {
    /// The binaries of that family.
    pub const fn new(family: IpFamily) -> Self {
        Self { family }
    }

    const fn pick(&self, v4: &'static str, v6: &'static str) -> &'static str {
        match self.family {
            IpFamily::V4 => v4,
            IpFamily::V6 => v6,
        }
    }

    /// Runs a binary with `input` on its standard input; what it printed on success.
    async fn run(
        &self,
        command: &'static str,
        arguments: &[&str],
        input: String,
    ) -> Result<String, IptablesError> {
        let mut child = Command::new(command)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| IptablesError::Start { command, source })?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A binary that gives up early closes the pipe; its message says more than ours.
                let _ = stdin.write_all(input.as_bytes()).await;
                let _ = stdin.shutdown().await;
            }
        };
        let talk = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(BATCH_LIMIT, talk)
            .await
            .map_err(|_| IptablesError::Deadline { command, limit: BATCH_LIMIT })?
            .map_err(|source| IptablesError::Talk { command, source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Err(IptablesError::Failed {
            command,
            status: output.status.to_string(),
            message: with_offending_line(message.trim(), &input),
        })
    }

    /// Runs a few single commands of the `iptables` library, away from the async threads.
    async fn single<T: Send + 'static>(
        &self,
        work: impl FnOnce(&iptables::IPTables) -> Result<T, Box<dyn std::error::Error>> + Send + 'static,
    ) -> Result<T, IptablesError> {
        let command = self.pick("iptables", "ip6tables");
        let is_ipv6 = self.family == IpFamily::V6;
        let failed = move |message: String| IptablesError::Failed {
            command,
            status: "an error".to_owned(),
            message,
        };
        let blocking = tokio::task::spawn_blocking(move || {
            let mut tables = iptables::new(is_ipv6).map_err(|error| error.to_string())?;
            // Without it, listing a chain asks DNS about every address.
            tables.set_numeric(true);
            work(&tables).map_err(|error| error.to_string())
        });
        tokio::time::timeout(SINGLE_LIMIT, blocking)
            .await
            .map_err(|_| IptablesError::Deadline { command, limit: SINGLE_LIMIT })?
            .map_err(|error| failed(error.to_string()))?
            .map_err(failed)
    }
}

/// Adds the input line a message such as `line 7 failed` is about.
fn with_offending_line(message: &str, input: &str) -> String {
    let mut words =
        message.split(|c: char| c.is_whitespace() || c == ':').filter(|w| !w.is_empty());
    let number = words.by_ref().find(|word| *word == "line").and_then(|_| words.next());
    let line = number
        .and_then(|number| number.parse::<usize>().ok())
        .and_then(|number| input.lines().nth(number.checked_sub(1)?));
    match line {
        Some(line) => format!("{message} ({line})"),
        None => message.to_owned(),
    }
}

#[async_trait]
impl Iptables for IptablesCommand {
    async fn restore(&self, input: String) -> Result<(), IptablesError> {
        let command = self.pick("iptables-restore", "ip6tables-restore");
        self.run(command, &["--noflush", "--wait", LOCK_SECONDS], input).await.map(drop)
    }

    async fn save(&self) -> Result<String, IptablesError> {
        self.run(self.pick("iptables-save", "ip6tables-save"), &[], String::new()).await
    }

    async fn ensure_jump(
        &self,
        table: Table,
        chain: &str,
        rule: &str,
    ) -> Result<(), IptablesError> {
        let (chain, rule) = (chain.to_owned(), rule.to_owned());
        self.single(move |tables| {
            if tables.exists(table.name(), &chain, &rule)? {
                return Ok(());
            }
            tables.insert(table.name(), &chain, &rule, 1)
        })
        .await
    }

    async fn chain_exists(&self, table: Table, chain: &str) -> Result<bool, IptablesError> {
        let chain = chain.to_owned();
        self.single(move |tables| tables.chain_exists(table.name(), &chain)).await
    }

    async fn version(&self) -> Result<Version, IptablesError> {
        let command = self.pick("iptables", "ip6tables");
        let line = self.run(command, &["--version"], String::new()).await?;
        Version::from_line(&line).ok_or_else(|| IptablesError::Failed {
            command,
            status: "an unknown version".to_owned(),
            message: line.trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;

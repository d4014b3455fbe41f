//! iptables through its binaries.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::boundary::{Flavour, Iptables, IptablesError, Version};
use crate::config::IpFamily;
use crate::interference::OwnWriters;
use crate::rules::ruleset::Table;

/// Seconds to wait for the lock of legacy iptables (kube-proxy, v1.36).
const LOCK_SECONDS: &str = "5";
/// Microseconds between two tries for the lock (kube-proxy, v1.36).
const LOCK_INTERVAL: &str = "100000";
/// Time for a dump. One of 100 000 services takes tens of seconds.
const SAVE_LIMIT: Duration = Duration::from_secs(120);
/// Time for a small restore, waiting for the lock included.
const RESTORE_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of restore input for which there is another second. Measured: the slower flavour takes
/// more than a megabyte in a second.
const BYTES_PER_SECOND: usize = 100_000;
/// Time for a single check.
const SINGLE_LIMIT: Duration = Duration::from_secs(30);

/// The binaries of one family and flavour, found through `PATH`.
#[derive(Clone, Copy, Debug)]
pub struct IptablesCommand {
    family: IpFamily,
    flavour: Flavour,
    spelling: Spelling,
    version: Option<Version>,
}

/// How binaries are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// With the flavour in the name: `iptables-nft-save`.
    Explicit,
    /// Without it, where there is only one flavour: `iptables-save`.
    Plain,
}

/// The binaries of a package.
#[derive(Clone, Copy, Debug)]
enum Tool {
    Single,
    Save,
    Restore,
}

impl IptablesCommand {
    /// The binaries of that family and flavour, with the flavour in their names.
    pub const fn new(family: IpFamily, flavour: Flavour) -> Self {
        Self { family, flavour, spelling: Spelling::Explicit, version: None }
    }

    /// The same binaries under other names.
    pub(super) const fn spelled(self, spelling: Spelling) -> Self {
        Self { spelling, ..self }
    }

    /// The same binaries, known to be of this version.
    pub(super) const fn of_version(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }

    const fn command(&self, tool: Tool) -> &'static str {
        use Flavour::{Legacy, Nft};
        use IpFamily::{V4, V6};
        match (self.family, self.spelling, self.flavour, tool) {
            (V4, Spelling::Plain, _, Tool::Single) => "iptables",
            (V4, Spelling::Plain, _, Tool::Save) => "iptables-save",
            (V4, Spelling::Plain, _, Tool::Restore) => "iptables-restore",
            (V6, Spelling::Plain, _, Tool::Single) => "ip6tables",
            (V6, Spelling::Plain, _, Tool::Save) => "ip6tables-save",
            (V6, Spelling::Plain, _, Tool::Restore) => "ip6tables-restore",
            (V4, Spelling::Explicit, Nft, Tool::Single) => "iptables-nft",
            (V4, Spelling::Explicit, Nft, Tool::Save) => "iptables-nft-save",
            (V4, Spelling::Explicit, Nft, Tool::Restore) => "iptables-nft-restore",
            (V6, Spelling::Explicit, Nft, Tool::Single) => "ip6tables-nft",
            (V6, Spelling::Explicit, Nft, Tool::Save) => "ip6tables-nft-save",
            (V6, Spelling::Explicit, Nft, Tool::Restore) => "ip6tables-nft-restore",
            (V4, Spelling::Explicit, Legacy, Tool::Single) => "iptables-legacy",
            (V4, Spelling::Explicit, Legacy, Tool::Save) => "iptables-legacy-save",
            (V4, Spelling::Explicit, Legacy, Tool::Restore) => "iptables-legacy-restore",
            (V6, Spelling::Explicit, Legacy, Tool::Single) => "ip6tables-legacy",
            (V6, Spelling::Explicit, Legacy, Tool::Save) => "ip6tables-legacy-save",
            (V6, Spelling::Explicit, Legacy, Tool::Restore) => "ip6tables-legacy-restore",
        }
    }

    /// Runs a binary with `input` on its standard input; what it printed on success.
    async fn run(
        &self,
        tool: Tool,
        arguments: &[&str],
        input: &str,
        limit: Duration,
    ) -> Result<String, IptablesError> {
        let mut output = String::new();
        let mut take = |line: &str| {
            output.push_str(line);
            output.push('\n');
        };
        self.talk(tool, arguments, input, limit, &mut take).await?;
        Ok(output)
    }

    /// Runs a binary and hands over what it prints, line by line.
    async fn talk(
        &self,
        tool: Tool,
        arguments: &[&str],
        input: &str,
        limit: Duration,
        take: &mut (dyn for<'a> FnMut(&'a str) + Send),
    ) -> Result<(), IptablesError> {
        let command = self.command(tool);
        let writers = OwnWriters::of_this_process();
        let _run = writers.run();
        let mut child = Command::new(command)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| IptablesError::Start { command, source })?;
        if let Some(pid) = child.id() {
            writers.note(pid);
        }
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A binary that gives up early closes the pipe; its message says more than ours.
                let _ = stdin.write_all(input.as_bytes()).await;
                let _ = stdin.shutdown().await;
            }
        };
        let read = async {
            match stdout {
                Some(stdout) => each_line(stdout, take).await,
                None => Ok(()),
            }
        };
        // The end of the process closes the standard error output, which is what this waits for.
        let talk = async { tokio::join!(feed, read, child.wait_with_output()) };
        let ((), read, output) = tokio::time::timeout(limit, talk)
            .await
            .map_err(|_| IptablesError::Deadline { command, limit })?;
        let talk = |source| IptablesError::Talk { command, source };
        let output = output.map_err(talk)?;
        if output.status.success() {
            return read.map_err(talk);
        }
        let message = String::from_utf8_lossy(&output.stderr);
        let line = offending_line(&message, input);
        let message = match line {
            Some(line) => format!("{} ({line})", message.trim()),
            None => message.trim().to_owned(),
        };
        let line = line.map(str::to_owned);
        Err(IptablesError::Failed { command, status: output.status.to_string(), message, line })
    }

    /// Runs single commands of the `iptables` library, away from the async threads.
    async fn single<T: Send + 'static>(
        &self,
        work: impl FnOnce(&iptables::IPTables) -> Result<T, Box<dyn std::error::Error>> + Send + 'static,
    ) -> Result<T, IptablesError> {
        // Made by hand, as its constructor knows only the names without flavour.
        let tables = iptables::IPTables {
            cmd: self.command(Tool::Single),
            has_check: true,
            has_wait: true,
            // Without it, listing a chain asks DNS about every address.
            is_numeric: true,
        };
        let command = tables.cmd;
        let failed = |message: String| IptablesError::Failed {
            command,
            status: "an error".to_owned(),
            message,
            line: None,
        };
        let blocking =
            tokio::task::spawn_blocking(move || work(&tables).map_err(|error| error.to_string()));
        tokio::time::timeout(SINGLE_LIMIT, blocking)
            .await
            .map_err(|_| IptablesError::Deadline { command, limit: SINGLE_LIMIT })?
            .map_err(|error| failed(error.to_string()))?
            .map_err(failed)
    }

    /// What `iptables --version` prints.
    pub(super) async fn version_line(&self) -> Result<String, IptablesError> {
        self.run(Tool::Single, &["--version"], "", SINGLE_LIMIT).await
    }

    /// The rules of the mangle table, as iptables-save prints them. Fails where the kernel lacks
    /// the family.
    pub async fn save_mangle(&self) -> Result<String, IptablesError> {
        self.run(Tool::Save, &["--table", "mangle"], "", SAVE_LIMIT).await
    }
}

async fn each_line(
    output: impl AsyncRead + Unpin,
    take: &mut (dyn for<'a> FnMut(&'a str) + Send),
) -> std::io::Result<()> {
    let mut output = BufReader::with_capacity(64 * 1024, output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).await? > 0 {
        let text = String::from_utf8_lossy(&line);
        take(text.strip_suffix('\n').unwrap_or(&text));
        line.clear();
    }
    Ok(())
}

/// The input line that a message such as `line 7 failed` is about.
fn offending_line<'a>(message: &str, input: &'a str) -> Option<&'a str> {
    let mut words =
        message.split(|c: char| c.is_whitespace() || c == ':').filter(|w| !w.is_empty());
    let number = words.by_ref().find(|word| *word == "line").and_then(|_| words.next())?;
    input.lines().nth(number.parse::<usize>().ok()?.checked_sub(1)?)
}

#[async_trait]
impl Iptables for IptablesCommand {
    async fn restore(&self, input: String) -> Result<(), IptablesError> {
        let mut arguments = vec!["--noflush"];
        // The nft flavour takes the option and ignores it, as the kernel changes tables at once.
        if self.version.is_none_or(Version::restore_waits) {
            arguments.extend(["--wait", LOCK_SECONDS]);
        }
        if self.version.is_some_and(Version::has_wait_interval) {
            arguments.extend(["--wait-interval", LOCK_INTERVAL]);
        }
        let seconds = u64::try_from(input.len() / BYTES_PER_SECOND).unwrap_or(u64::MAX);
        let limit = RESTORE_LIMIT.saturating_add(Duration::from_secs(seconds));
        self.run(Tool::Restore, &arguments, &input, limit).await.map(drop)
    }

    async fn save(&self) -> Result<String, IptablesError> {
        self.run(Tool::Save, &[], "", SAVE_LIMIT).await
    }

    async fn save_lines(
        &self,
        take: &mut (dyn for<'a> FnMut(&'a str) + Send),
    ) -> Result<(), IptablesError> {
        self.talk(Tool::Save, &[], "", SAVE_LIMIT, take).await
    }

    async fn has_rule(&self, table: Table, chain: &str, rule: &str) -> Result<bool, IptablesError> {
        let (chain, rule) = (chain.to_owned(), rule.to_owned());
        self.single(move |tables| tables.exists(table.name(), &chain, &rule)).await
    }

    async fn chain_exists(&self, table: Table, chain: &str) -> Result<bool, IptablesError> {
        let chain = chain.to_owned();
        self.single(move |tables| tables.chain_exists(table.name(), &chain)).await
    }

    fn flavour(&self) -> Flavour {
        self.flavour
    }

    async fn version(&self) -> Result<Version, IptablesError> {
        if let Some(version) = self.version {
            return Ok(version);
        }
        let line = self.version_line().await?;
        Version::from_line(&line).ok_or_else(|| IptablesError::Failed {
            command: self.command(Tool::Single),
            status: "an unknown version".to_owned(),
            message: line.trim().to_owned(),
            line: None,
        })
    }
}

#[cfg(test)]
mod tests;

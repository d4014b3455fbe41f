//! The API server's audit log: who asked for what.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// Only what node agents ask is written down.
const POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:nodes"]
  - level: Metadata
    users: ["system:kube-proxy"]
  - level: None
"#;

/// The log of one API server.
pub struct AuditLog {
    directory: PathBuf,
}

impl AuditLog {
    /// A log in this directory, which gets the policy file.
    pub fn prepare(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("policy.yaml"), POLICY)?;
        Ok(Self { directory: directory.to_owned() })
    }

    fn file(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    /// Arguments that make an API server write it.
    pub fn api_server_args(&self) -> Vec<String> {
        vec![
            format!("--audit-policy-file={}", self.directory.join("policy.yaml").display()),
            format!("--audit-log-path={}", self.file().display()),
        ]
    }

    /// How much is written so far, a mark for [`Self::requests_since`].
    pub fn mark(&self) -> u64 {
        fs::metadata(self.file()).map_or(0, |file| file.len())
    }

    /// Requests since a mark by kind, such as `update leases`; a watch counts when it starts.
    pub fn requests_since(&self, mark: u64) -> Result<BTreeMap<String, u32>> {
        let log = fs::read(self.file()).context("cannot read the audit log")?;
        let start = usize::try_from(mark)?.min(log.len());
        Ok(count(&String::from_utf8_lossy(&log[start..])))
    }
}

/// Counts requests by verb and resource. A last line that is not whole is left out.
fn count(log: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let verb = event["verb"].as_str().unwrap_or("?");
        let stage = event["stage"].as_str().unwrap_or_default();
        // A watch is written down when it starts and again when it ends.
        if verb == "watch" && stage != "ResponseStarted" {
            continue;
        }
        let resource = event["objectRef"]["resource"].as_str().unwrap_or("other paths");
        let below = event["objectRef"]["subresource"].as_str();
        let name = below.map_or_else(|| resource.to_owned(), |below| format!("{resource}/{below}"));
        *counts.entry(format!("{verb} {name}")).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests;

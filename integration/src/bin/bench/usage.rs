//! What a process takes of the machine, from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// Clock ticks a second in `/proc/PID/stat`: fixed at 100 for every Linux of our architectures.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory and time of some processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Resident memory, MiB.
    pub rss: f64,
    /// Resident memory with shared pages divided among their users, MiB.
    pub pss: f64,
    /// CPU time since the start, seconds.
    pub cpu: f64,
}

/// What these processes take now. Errors when one has ended.
pub fn of(ids: &[u32]) -> Result<Usage> {
    let mut sum = Usage::default();
    for id in ids {
        let read = |file: &str| {
            let path = format!("/proc/{id}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let memory = read("smaps_rollup")?;
        sum.rss += parse_memory(&memory, "Rss:").context("no Rss")?;
        sum.pss += parse_memory(&memory, "Pss:").context("no Pss")?;
        sum.cpu += parse_cpu(&read("stat")?).context("no CPU time")?;
    }
    Ok(sum)
}

/// The value of a line `NAME 123 kB` in MiB.
fn parse_memory(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// User and system time of a `stat` file in seconds.
fn parse_cpu(text: &str) -> Option<f64> {
    // The name may hold spaces and brackets; fields 14 and 15 of proc(5) are 11 and 12 after it,
    // counted from 0.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests;

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

/// The most resident memory these processes have had together since their starts, MiB. Their peaks
/// may have been at different times.
pub fn peak_memory(ids: &[u32]) -> Result<f64> {
    ids.iter()
        .map(|id| {
            let path = format!("/proc/{id}/status");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            parse_memory(&text, "VmHWM:").context("no VmHWM")
        })
        .sum()
}

/// Makes [`peak_memory`] begin anew with what these processes have now.
pub fn forget_peaks(ids: &[u32]) -> Result<()> {
    for id in ids {
        let path = format!("/proc/{id}/clear_refs");
        // 5 resets the peak and nothing else, proc(5).
        fs::write(&path, "5").with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

/// CPU time of a process and its ended children since its start, seconds.
pub fn cpu_with_children(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = parse_ticks(&text, 4).context("no CPU time")?;
    Ok(ticks / TICKS_PER_SECOND)
}

/// The value of a line `NAME 123 kB` in MiB.
fn parse_memory(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// User and system time of a `stat` file in seconds.
fn parse_cpu(text: &str) -> Option<f64> {
    Some(parse_ticks(text, 2)? / TICKS_PER_SECOND)
}

/// The sum of the first `count` of: user, system, children's user and children's system time.
fn parse_ticks(text: &str, count: usize) -> Option<f64> {
    // The name may hold spaces and brackets; fields 14 to 17 of proc(5) are 11 to 14 after it,
    // counted from 0.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<f64> = rest
        .split_whitespace()
        .skip(11)
        .take(count)
        .filter_map(|field| field.parse().ok())
        .collect();
    (fields.len() == count).then(|| fields.iter().sum())
}

#[cfg(test)]
mod tests;

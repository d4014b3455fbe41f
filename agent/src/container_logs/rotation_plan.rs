//! Pure. What happens to the files of one container log when it is rotated, and in which order the
//! rotated ones were written.
//!
//! Beside `0.log` lie `0.log.20260102-150405`, named by when it was rotated, and older ones as
//! `.gz`. The newest one stays plain, because the runtime and log collectors may not be through with
//! it. Names tell the order, so a new one is always later than all others, whatever the clock does.
//! Source: Kubernetes v1.36 `pkg/kubelet/logs/container_log_manager.go`, which names them by local
//! time; here it is UTC, so that an hour that comes twice does not turn the order around.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

#[cfg(test)]
mod tests;

const COMPRESSED: &str = ".gz";
const TEMPORARY: &str = ".tmp";
const STAMP: &str = "%Y%m%d-%H%M%S";
/// `20060102-150405`.
const STAMP_LEN: usize = 15;

/// Names beside the log, in its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationPlan {
    pub remove: Vec<String>,
    /// Oldest first.
    pub compress: Vec<String>,
    /// What the log itself is called from now on; nothing has that name.
    pub rotated: String,
}

/// Plans to rotate the log called `log`. `names` is all there is in its directory, in any order;
/// `max_files` is how many there may be of this log when it is done, itself included.
pub fn plan_rotation(
    log: &str,
    names: &[String],
    max_files: usize,
    now: Timestamp,
) -> RotationPlan {
    let mut files: Vec<&String> = names.iter().filter(|name| is_beside(log, name)).collect();
    files.sort();
    let is_compressed_too = |name: &str| names.iter().any(|other| *other == compressed(name));
    let (unused, mut kept): (Vec<&String>, Vec<&String>) = files.into_iter().partition(|name| {
        name.ends_with(TEMPORARY) || (!name.ends_with(COMPRESSED) && is_compressed_too(name))
    });
    // Beside the log and what it is about to be rotated to.
    let excess = kept.len().saturating_sub(max_files.saturating_sub(2));
    let excess: Vec<&String> = kept.drain(..excess).collect();
    RotationPlan {
        remove: unused.into_iter().chain(excess).cloned().collect(),
        compress: kept.into_iter().filter(|name| !name.ends_with(COMPRESSED)).cloned().collect(),
        rotated: next_name(log, names, now),
    }
}

/// What the compressed form of a rotated log is called.
pub fn compressed(name: &str) -> String {
    format!("{name}{COMPRESSED}")
}

/// What it is called while it is being written.
pub fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY}")
}

pub fn is_compressed(name: &str) -> bool {
    name.ends_with(COMPRESSED)
}

/// Whether a name is that of the log with something after it.
fn is_beside(log: &str, name: &str) -> bool {
    name.strip_prefix(log).is_some_and(|rest| rest.starts_with('.'))
}

/// `LOG.TIME` of this second, or of the first one after the newest that is there.
fn next_name(log: &str, names: &[String], now: Timestamp) -> String {
    let newest = names.iter().filter_map(|name| rotated_at(log, name)).max();
    let now = TimeZone::UTC.to_datetime(now);
    let time = match newest.and_then(|time| time.checked_add(SignedDuration::from_secs(1)).ok()) {
        Some(later) if later > now => later,
        _ => now,
    };
    format!("{log}.{}", time.strftime(STAMP))
}

/// When a rotated log of that name was rotated, whether it is compressed or not.
fn rotated_at(log: &str, name: &str) -> Option<DateTime> {
    DateTime::strptime(STAMP, stamp_of(log, name)?).ok()
}

/// The time in the name of a rotated log.
fn stamp_of<'a>(log: &str, name: &'a str) -> Option<&'a str> {
    let rest = name.strip_prefix(log)?.strip_prefix('.')?;
    let stamp = rest.strip_suffix(COMPRESSED).unwrap_or(rest);
    (stamp.len() == STAMP_LEN).then_some(stamp)
}

/// The rotated logs by time, oldest first: the time as the name spells it and the name. Of a log
/// that is there in both forms the plain one.
pub fn rotated_logs<'a>(log: &str, names: &'a [String]) -> Vec<(&'a str, &'a str)> {
    let stamped = names.iter().filter_map(|name| Some((stamp_of(log, name)?, name.as_str())));
    let mut logs: Vec<_> = stamped.collect();
    logs.sort_unstable();
    logs.dedup_by_key(|(stamp, _)| *stamp);
    logs
}

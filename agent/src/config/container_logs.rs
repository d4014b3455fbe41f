//! Pure. When container logs are rotated.
//! Source: KubeletConfiguration v1beta1 (v1.36), its defaults and its validation.

use std::time::Duration;

use super::resolve::Reader;
use super::wire::KubeletConfiguration;
use crate::model::quantity::Quantity;

#[cfg(test)]
mod tests;

/// Shortest `containerLogMonitorInterval`.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(3);

/// How container logs are kept from growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRotation {
    /// `containerLogMaxSize`, 10 MiB: a log of so many bytes is rotated. `None`, written as a
    /// negative number, rotates nothing.
    pub max_size: Option<u64>,
    /// `containerLogMaxFiles`, 5: most files of one log, the one being written included; at least
    /// 2.
    pub max_files: usize,
    /// `containerLogMaxWorkers`, 1: logs rotated at once.
    pub workers: usize,
    /// `containerLogMonitorInterval`, 10 s: between two looks at the sizes; at least 3 s.
    pub interval: Duration,
}

pub(super) fn resolve(reader: &mut Reader, wire: &KubeletConfiguration) -> LogRotation {
    let interval = reader.duration(
        "containerLogMonitorInterval",
        wire.container_log_monitor_interval.as_ref(),
        Duration::from_secs(10),
    );
    if interval < SHORTEST_INTERVAL {
        reader.problems.push("containerLogMonitorInterval: must be 3s or longer".to_owned());
    }
    let max_size = max_size(reader, wire);
    let mut at_least = |field: &str, value: Option<i64>, default: usize, least: usize| {
        let number = reader.number(field, value, default);
        if number < least {
            reader.problems.push(format!("{field}: must be {least} or more"));
        }
        number
    };
    // Without rotation their number does not matter.
    let least_files = if max_size.is_some() { 2 } else { 0 };
    LogRotation {
        max_size,
        max_files: at_least("containerLogMaxFiles", wire.container_log_max_files, 5, least_files),
        workers: at_least("containerLogMaxWorkers", wire.container_log_max_workers, 1, 1),
        interval,
    }
}

fn max_size(reader: &mut Reader, wire: &KubeletConfiguration) -> Option<u64> {
    let text = wire.container_log_max_size.as_deref().filter(|text| !text.is_empty());
    let text = text.unwrap_or("10Mi");
    match Quantity::parse(text) {
        Ok(quantity) => u64::try_from(quantity.value()).ok(),
        Err(_) => {
            reader
                .problems
                .push(format!("containerLogMaxSize: \"{text}\" is not a quantity like 10Mi"));
            None
        }
    }
}

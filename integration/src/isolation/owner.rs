//! Who a run directory belongs to: a process, named by its id and start time.

use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "owner";

/// Marks `directory` as belonging to the calling process.
pub fn claim(directory: &Path) -> io::Result<()> {
    let id = std::process::id();
    let started = start_time(id).unwrap_or_default();
    fs::write(directory.join(FILE), format!("{id} {started}"))
}

/// Whether the owner of `directory` still lives. `None` when no owner is written there yet.
pub fn is_alive(directory: &Path) -> Option<bool> {
    let text = fs::read_to_string(directory.join(FILE)).ok()?;
    let (id, started) = text.split_once(' ')?;
    Some(start_time(id.parse().ok()?) == started.parse().ok())
}

/// Start time of a process in clock ticks since boot, `None` when there is no such process.
fn start_time(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The command's name may hold spaces and brackets, so count from its closing one:
    // the start time is field 22, the field after the name is number 3 (proc(5)).
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(22 - 3)?.parse().ok()
}

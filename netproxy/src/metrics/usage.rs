//! What this program uses of the machine, as every Prometheus client tells it.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};
use prometheus::{Counter, Gauge, Opts, Registry};

/// The metrics that begin with `process_`. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Usage {
    cpu: Counter,
    open_files: Gauge,
    most_files: Gauge,
    virtual_bytes: Gauge,
    resident_bytes: Gauge,
    start: Gauge,
}

/// What the kernel says of a running program, in its own units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    cpu_ticks: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Usage {
    /// Shows them in this registry, which must not have them yet.
    pub fn new(registry: &Registry) -> Self {
        let gauge = |name: &str, help: &str| {
            let gauge = Gauge::with_opts(Opts::new(format!("process_{name}"), help))
                .expect("names are constants of the right form");
            registry.register(Box::new(gauge.clone())).expect("each name is used once");
            gauge
        };
        let cpu = Counter::with_opts(Opts::new(
            "process_cpu_seconds_total",
            "Seconds of processor time used, by user and system together",
        ))
        .expect("the name is a constant of the right form");
        registry.register(Box::new(cpu.clone())).expect("each name is used once");
        Self {
            cpu,
            open_files: gauge("open_fds", "File descriptors in use"),
            most_files: gauge("max_fds", "File descriptors allowed"),
            virtual_bytes: gauge("virtual_memory_bytes", "Bytes of address space"),
            resident_bytes: gauge("resident_memory_bytes", "Bytes of memory in use"),
            start: gauge("start_time_seconds", "Start of the program in seconds since 1970"),
        }
    }

    /// Reads the values anew; what cannot be read stays. Short reads of kernel state.
    pub fn update(&self) {
        let number = |variable, default: f64| match sysconf(variable) {
            Ok(Some(value)) => value as f64,
            _ => default,
        };
        let ticks = number(SysconfVar::CLK_TCK, 100.0);
        let read = |path: &str| fs::read_to_string(path).ok();
        if let Some(counted) = read("/proc/self/stat").as_deref().and_then(parse_stat) {
            let seconds = counted.cpu_ticks as f64 / ticks;
            self.cpu.reset();
            self.cpu.inc_by(seconds);
            self.virtual_bytes.set(counted.virtual_bytes as f64);
            let page = number(SysconfVar::PAGE_SIZE, 4096.0);
            self.resident_bytes.set(counted.resident_pages as f64 * page);
            if let Some(boot) = read("/proc/stat").as_deref().and_then(parse_boot_time) {
                self.start.set(boot + counted.start_ticks as f64 / ticks);
            }
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // The directory is open itself while it is read.
            self.open_files.set(files.count().saturating_sub(1) as f64);
        }
        if let Some(most) = read("/proc/self/limits").as_deref().and_then(parse_most_files) {
            self.most_files.set(most);
        }
    }
}

/// The line of `/proc/PID/stat`. The name in brackets may hold anything, so fields are counted
/// from its end.
fn parse_stat(text: &str) -> Option<Counted> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // proc_pid_stat(5): the state, which comes first here, is field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Counted {
        cpu_ticks: field(14)? + field(15)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// Seconds since 1970 at which the machine started, from `/proc/stat`.
fn parse_boot_time(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit of open files, from `/proc/PID/limits`.
fn parse_most_files(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests;

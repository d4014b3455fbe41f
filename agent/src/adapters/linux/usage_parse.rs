//! Pure. Readers of the text files in which the kernel counts.
//!
//! A line that is not of the documented form is skipped.

use std::collections::BTreeMap;

use crate::boundary::{DeviceIo, InterfaceUsage, Pressure, Stall, Traffic};

/// Interfaces that tell nothing of the namespace's own traffic: loopback and the host's ends of
/// containers (cAdvisor v0.56).
const LEFT_OUT: [&str; 4] = ["lo", "veth", "docker", "nerdctl"];

/// Largest number that still is a limit; the kernel shows "no limit" of v1 as a number above
/// (cAdvisor v0.56).
const LARGEST_LIMIT: u64 = 1 << 62;

/// A plain number.
pub fn parse_number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A limit; `None` for `max`, -1 and what is so large that it is none.
pub fn parse_limit(text: &str) -> Option<u64> {
    parse_number(text).filter(|limit| *limit <= LARGEST_LIMIT)
}

/// `name value` lines, as in memory.stat and cpu.stat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlatKeyed<'a>(BTreeMap<&'a str, u64>);

impl<'a> FlatKeyed<'a> {
    pub fn parse(text: &'a str) -> Self {
        let pair = |line: &'a str| {
            let (name, value) = line.split_once(' ')?;
            Some((name, value.trim().parse().ok()?))
        };
        Self(text.lines().filter_map(pair).collect())
    }

    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

/// `cpu.max`: quota and period in microseconds; no quota for `max`.
pub fn parse_cpu_max(text: &str) -> (Option<u64>, Option<u64>) {
    let mut fields = text.split_whitespace();
    let quota = fields.next().and_then(parse_number);
    (quota, fields.next().and_then(parse_number))
}

/// A pressure file: a line for `some` and one for `full`; what is missing is 0.
pub fn parse_pressure(text: &str) -> Option<Pressure> {
    let mut pressure = None;
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let kind = fields.next();
        let mut stall = Stall::default();
        for (name, value) in fields.filter_map(|field| field.split_once('=')) {
            match name {
                "total" => stall.total_us = value.parse().unwrap_or(0),
                "avg10" => stall.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => stall.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => stall.avg300 = value.parse().unwrap_or(0.0),
                _ => {}
            }
        }
        match kind {
            Some("some") => pressure.get_or_insert_with(Pressure::default).some = stall,
            Some("full") => pressure.get_or_insert_with(Pressure::default).full = stall,
            _ => {}
        }
    }
    pressure
}

/// Devices by their numbers, for files that speak of one device in several lines.
type ByDevice = BTreeMap<(u32, u32), DeviceIo>;

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn entry(devices: &mut ByDevice, (major, minor): (u32, u32)) -> &mut DeviceIo {
    devices.entry((major, minor)).or_insert_with(|| DeviceIo { major, minor, ..Default::default() })
}

/// `io.stat` of v2; names of devices are left empty.
pub fn parse_io_stat(text: &str) -> Vec<DeviceIo> {
    let mut devices = ByDevice::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some(numbers) = fields.next().and_then(device) else { continue };
        let known: Vec<(&str, u64)> = fields
            .filter_map(|field| field.split_once('='))
            .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
            .collect();
        if known.is_empty() {
            continue;
        }
        let io = entry(&mut devices, numbers);
        for (name, value) in known {
            match name {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.write_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
    }
    devices.into_values().collect()
}

/// The two files of v1's blkio, bytes and operations; names of devices are left empty.
pub fn parse_blkio(bytes: &str, operations: &str) -> Vec<DeviceIo> {
    let mut devices = ByDevice::new();
    let lines = bytes.lines().map(|line| (true, line));
    for (in_bytes, line) in lines.chain(operations.lines().map(|line| (false, line))) {
        let mut fields = line.split_whitespace();
        let Some(numbers) = fields.next().and_then(device) else { continue };
        let (Some(operation), Some(value)) = (fields.next(), fields.next().and_then(parse_number))
        else {
            continue;
        };
        let io = entry(&mut devices, numbers);
        match (operation, in_bytes) {
            ("Read", true) => io.read_bytes = value,
            ("Write", true) => io.write_bytes = value,
            ("Read", false) => io.reads = value,
            ("Write", false) => io.writes = value,
            _ => {}
        }
    }
    devices.into_values().collect()
}

/// /proc/PID/net/dev without the interfaces that tell nothing, in the order of the file.
pub fn parse_net_dev(text: &str) -> Vec<InterfaceUsage> {
    text.lines().filter_map(interface).collect()
}

/// `eth0: 1 2 3 ...`: eight figures received, eight transmitted.
fn interface(line: &str) -> Option<InterfaceUsage> {
    let (name, figures) = line.split_once(':')?;
    let name = name.trim();
    if LEFT_OUT.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let figures: Vec<u64> =
        figures.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let traffic = |at: usize| {
        Some(Traffic {
            bytes: *figures.get(at)?,
            packets: *figures.get(at + 1)?,
            errors: *figures.get(at + 2)?,
            dropped: *figures.get(at + 3)?,
        })
    };
    Some(InterfaceUsage { name: name.to_owned(), rx: traffic(0)?, tx: traffic(8)? })
}

/// The interface with the default route in /proc/PID/net/route, the one with the lowest metric.
pub fn parse_default_interface(text: &str) -> Option<String> {
    let default = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = *fields.get(1)? == "00000000" && *fields.get(7)? == "00000000";
        let metric: u64 = fields.get(6)?.parse().ok()?;
        is_default.then(|| (metric, fields[0].to_owned()))
    };
    text.lines().filter_map(default).min_by_key(|(metric, _)| *metric).map(|(_, name)| name)
}

/// The interface with the default route in /proc/PID/net/ipv6_route, loopback left out.
pub fn parse_default_interface_v6(text: &str) -> Option<String> {
    let default = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let anywhere =
            fields.first()?.bytes().all(|digit| digit == b'0') && *fields.get(1)? == "00";
        let metric = u64::from_str_radix(fields.get(5)?, 16).ok()?;
        let name = fields.get(9).filter(|name| **name != "lo")?;
        anywhere.then(|| (metric, (*name).to_owned()))
    };
    text.lines().filter_map(default).min_by_key(|(metric, _)| *metric).map(|(_, name)| name)
}

/// Soft limit of open files in /proc/PID/limits; -1 for `unlimited`.
pub fn parse_open_files_limit(text: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(-1),
        soft => soft.parse().ok(),
    }
}

/// The cgroup of /proc/PID/cgroup; `None` when CPU and memory are counted in different ones, for
/// then no cgroup is the process's own (kubelet v1.36).
pub fn parse_own_cgroup(text: &str) -> Option<String> {
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        found.extend(controllers.split(',').map(|controller| (controller, path)));
    }
    match (found.get("cpu"), found.get("memory")) {
        (Some(cpu), Some(memory)) => (cpu == memory).then(|| (*cpu).to_owned()),
        (None, None) => found.get("").map(|path| (*path).to_owned()),
        _ => None,
    }
}

/// Seconds since the epoch at which the machine started: `btime` of /proc/stat.
pub fn parse_boot_time(text: &str) -> Option<i64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests;

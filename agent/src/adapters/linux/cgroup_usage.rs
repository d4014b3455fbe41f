//! Pure. The files of one cgroup to what it has used, for both versions.
//!
//! A file is asked for by controller and name, and answered with its text or nothing. Source of
//! which file means what: cAdvisor v0.56 and the kernel's cgroup-v1 and cgroup-v2 documentation.

use super::usage_parse::{
    FlatKeyed, parse_blkio, parse_cpu_max, parse_io_stat, parse_limit, parse_number, parse_pressure,
};
use crate::boundary::{
    CgroupDetail, CgroupUsage, CpuDetail, CpuUsage, Detail, MemoryDetail, MemoryUsage, PidsUsage,
    Pressures, SwapUsage, Throttling,
};

/// Nanoseconds of one tick in cpuacct.stat: USER_HZ is 100 on every architecture that Kubernetes
/// runs on.
const TICK_NS: u64 = 10_000_000;

/// Nanoseconds in a microsecond.
const US: u64 = 1000;

/// What a cgroup has used, as its files tell; the times are left empty. `None` when neither CPU
/// nor memory is counted, for then there is no such cgroup.
pub fn read_v1(file: &dyn Fn(&str, &str) -> Option<String>, detail: Detail) -> Option<CgroupUsage> {
    let number =
        |controller: &str, name: &str| file(controller, name).as_deref().and_then(parse_number);
    let stat = file("memory", "memory.stat").unwrap_or_default();
    let stat = FlatKeyed::parse(&stat);
    let cpu = number("cpuacct", "cpuacct.usage").map(|total_ns| {
        let ticks = file("cpuacct", "cpuacct.stat").unwrap_or_default();
        let ticks = FlatKeyed::parse(&ticks);
        let ns = |name| ticks.get(name).map(|ticks| ticks.saturating_mul(TICK_NS));
        CpuUsage { total_ns, user_ns: ns("user"), system_ns: ns("system") }
    });
    let limit = |name: &str| file("memory", name).as_deref().and_then(parse_limit);
    let memory = number("memory", "memory.usage_in_bytes").map(|usage| MemoryUsage {
        usage,
        working_set: usage.saturating_sub(stat.get("total_inactive_file").unwrap_or(0)),
        rss: stat.get("total_rss"),
        cache: stat.get("total_cache"),
        mapped_file: stat.get("total_mapped_file"),
        active_file: stat.get("total_active_file"),
        inactive_file: stat.get("total_inactive_file"),
        page_faults: stat.get("total_pgfault"),
        major_page_faults: stat.get("total_pgmajfault"),
        limit: limit("memory.limit_in_bytes"),
    });
    if cpu.is_none() && memory.is_none() {
        return None;
    }
    let both = limit("memory.memsw.limit_in_bytes");
    let swap = stat.get("total_swap").map(|usage| SwapUsage {
        usage,
        // The limit of both together is known only in full numbers of each.
        limit: both
            .and_then(|both| Some(both.saturating_sub(memory.and_then(|memory| memory.limit)?))),
    });
    let more = (detail == Detail::Full).then(|| Box::new(detail_v1(file, both)));
    Some(CgroupUsage { at: None, cpu, memory, swap, more })
}

fn detail_v1(file: &dyn Fn(&str, &str) -> Option<String>, swap_limit: Option<u64>) -> CgroupDetail {
    let number =
        |controller: &str, name: &str| file(controller, name).as_deref().and_then(parse_number);
    let blkio = |name: &str| file("blkio", name).unwrap_or_default();
    CgroupDetail {
        cpu: CpuDetail {
            shares: number("cpu", "cpu.shares"),
            quota_us: number("cpu", "cpu.cfs_quota_us"),
            period_us: number("cpu", "cpu.cfs_period_us"),
            throttling: file("cpu", "cpu.stat").as_deref().and_then(|text| {
                let stat = FlatKeyed::parse(text);
                Some(Throttling {
                    periods: stat.get("nr_periods")?,
                    throttled_periods: stat.get("nr_throttled")?,
                    throttled_ns: stat.get("throttled_time")?,
                    burst_periods: stat.get("nr_bursts"),
                    burst_ns: stat.get("burst_time"),
                })
            }),
        },
        memory: MemoryDetail {
            max_usage: number("memory", "memory.max_usage_in_bytes"),
            failures: number("memory", "memory.failcnt"),
            kernel: number("memory", "memory.kmem.usage_in_bytes"),
            reservation: file("memory", "memory.soft_limit_in_bytes")
                .as_deref()
                .and_then(parse_limit),
            swap_limit,
            oom_kills: file("memory", "memory.oom_control")
                .and_then(|text| FlatKeyed::parse(&text).get("oom_kill")),
        },
        pids: PidsUsage {
            current: number("pids", "pids.current"),
            max: file("pids", "pids.max").as_deref().and_then(parse_limit),
        },
        io: parse_blkio(
            &blkio("blkio.throttle.io_service_bytes_recursive"),
            &blkio("blkio.throttle.io_serviced_recursive"),
        ),
        // Version 1 keeps no pressure of cgroups.
        pressure: Pressures::default(),
    }
}

/// The same for version 2, where all controllers share one directory.
pub fn read_v2(file: &dyn Fn(&str, &str) -> Option<String>, detail: Detail) -> Option<CgroupUsage> {
    let number = |name: &str| file("", name).as_deref().and_then(parse_number);
    let limit = |name: &str| file("", name).as_deref().and_then(parse_limit);
    let cpu_stat = file("", "cpu.stat").unwrap_or_default();
    let cpu_stat = FlatKeyed::parse(&cpu_stat);
    let ns = |name| cpu_stat.get(name).map(|us| us.saturating_mul(US));
    let cpu = ns("usage_usec").map(|total_ns| CpuUsage {
        total_ns,
        user_ns: ns("user_usec"),
        system_ns: ns("system_usec"),
    });
    let stat = file("", "memory.stat").unwrap_or_default();
    let stat = FlatKeyed::parse(&stat);
    // The topmost cgroup has no memory.current; the sum is what version 1 showed there.
    let usage = number("memory.current")
        .or_else(|| Some(stat.get("anon")?.saturating_add(stat.get("file")?)));
    let memory = usage.map(|usage| MemoryUsage {
        usage,
        working_set: usage.saturating_sub(stat.get("inactive_file").unwrap_or(0)),
        rss: stat.get("anon"),
        cache: stat.get("file"),
        mapped_file: stat.get("file_mapped"),
        active_file: stat.get("active_file"),
        inactive_file: stat.get("inactive_file"),
        page_faults: stat.get("pgfault"),
        major_page_faults: stat.get("pgmajfault"),
        limit: limit("memory.max"),
    });
    if cpu.is_none() && memory.is_none() {
        return None;
    }
    let swap_limit = limit("memory.swap.max");
    let swap = number("memory.swap.current").map(|usage| SwapUsage { usage, limit: swap_limit });
    let more = (detail == Detail::Full).then(|| {
        let mut more = detail_v2(file, swap_limit);
        more.cpu.throttling = throttling_v2(&cpu_stat);
        more.memory.kernel = stat.get("kernel");
        Box::new(more)
    });
    Some(CgroupUsage { at: None, cpu, memory, swap, more })
}

fn throttling_v2(stat: &FlatKeyed<'_>) -> Option<Throttling> {
    Some(Throttling {
        periods: stat.get("nr_periods")?,
        throttled_periods: stat.get("nr_throttled")?,
        throttled_ns: stat.get("throttled_usec")?.saturating_mul(US),
        burst_periods: stat.get("nr_bursts"),
        burst_ns: stat.get("burst_usec").map(|us| us.saturating_mul(US)),
    })
}

fn detail_v2(file: &dyn Fn(&str, &str) -> Option<String>, swap_limit: Option<u64>) -> CgroupDetail {
    let number = |name: &str| file("", name).as_deref().and_then(parse_number);
    let pressure = |name: &str| file("", name).as_deref().and_then(parse_pressure);
    let (quota_us, period_us) = file("", "cpu.max").as_deref().map_or((None, None), parse_cpu_max);
    let events = file("", "memory.events").unwrap_or_default();
    let events = FlatKeyed::parse(&events);
    CgroupDetail {
        cpu: CpuDetail {
            shares: number("cpu.weight").and_then(shares),
            quota_us,
            period_us,
            throttling: None,
        },
        memory: MemoryDetail {
            max_usage: number("memory.peak"),
            failures: events.get("max"),
            kernel: None,
            reservation: number("memory.min").filter(|bytes| *bytes > 0),
            swap_limit,
            oom_kills: events.get("oom_kill"),
        },
        pids: PidsUsage {
            current: number("pids.current"),
            max: file("", "pids.max").as_deref().and_then(parse_limit),
        },
        io: parse_io_stat(&file("", "io.stat").unwrap_or_default()),
        pressure: Pressures {
            cpu: pressure("cpu.pressure"),
            memory: pressure("memory.pressure"),
            io: pressure("io.pressure"),
        },
    }
}

/// The shares that a weight of 1 to 10000 stands for; the inverse of how limits are written
/// (cAdvisor v0.56).
fn shares(weight: u64) -> Option<u64> {
    (1..=10_000).contains(&weight).then(|| 2 + (weight - 1) * 262_142 / 9_999)
}

#[cfg(test)]
mod tests;

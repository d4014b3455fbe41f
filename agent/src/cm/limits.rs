//! Pure. Cgroup values of pods, of the QoS classes and of all pods together.
//!
//! Source: kubelet v1.36 `pkg/kubelet/cm/helpers_linux.go` and `qos_container_manager_linux.go`.

use std::time::Duration;

use k8s_openapi::api::core::v1 as api;

use crate::boundary::CgroupLimits;
use crate::model::qos::QosClass;
use crate::model::quantity::Quantity;
use crate::model::resources::{self, CPU, HUGE_PAGES_PREFIX, MEMORY, Resources};

/// Least and greatest CPU shares the kernel takes.
pub const MIN_SHARES: u64 = 2;
pub const MAX_SHARES: u64 = 262_144;

/// Shortest quota the kernel takes, in microseconds.
const MIN_QUOTA_US: i64 = 1000;

/// Stands for "no limit" on huge pages (kubelet v1.36).
const HUGE_PAGES_UNBOUNDED: u64 = 1 << 62;

/// How the limits of pods are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRules {
    /// Length of a CPU period; `None` leaves CPU limits unenforced (`cpuCFSQuota` false).
    pub cpu_period: Option<Duration>,
    /// `podPidsLimit`; `None` is no limit.
    pub pod_pids: Option<i64>,
    /// Huge page sizes of the machine in bytes.
    pub huge_page_sizes: Vec<u64>,
}

/// CPU shares for a request in thousandths of a CPU: 1024 for a whole one, never below 2.
pub fn shares_of(milli_cpu: i64) -> u64 {
    let milli = u64::try_from(milli_cpu).unwrap_or(0);
    (milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// Microseconds of CPU in each period for a limit in thousandths; 0 for no limit, else at least
/// 1000.
pub fn quota_of(milli_cpu: i64, period_us: u64) -> i64 {
    if milli_cpu <= 0 {
        return 0;
    }
    let period = i64::try_from(period_us).unwrap_or(i64::MAX);
    (milli_cpu.saturating_mul(period) / 1000).max(MIN_QUOTA_US)
}

/// Limits of a pod's own cgroup. A Guaranteed pod is bounded by its limits, a Burstable one only in
/// what all its containers limit, a BestEffort one not at all.
pub fn pod_limits(spec: &api::PodSpec, class: QosClass, rules: &LimitRules) -> CgroupLimits {
    let requests = resources::pod_requests(spec);
    let limits = resources::pod_limits(spec);
    let mut wanted = CgroupLimits {
        cpu_shares: Some(MIN_SHARES),
        pids: rules.pod_pids,
        huge_pages: huge_pages(&requests, &rules.huge_page_sizes),
        ..CgroupLimits::default()
    };
    if class == QosClass::BestEffort {
        return wanted;
    }
    wanted.cpu_shares = Some(shares_of(resources::cpu_milli(&requests)));
    let bounded =
        |resource| class == QosClass::Guaranteed || resources::all_containers_limit(spec, resource);
    if bounded(CPU) {
        // Without enforcement the quota is lifted rather than left, so that a changed
        // configuration takes effect on a cgroup that exists.
        let period = rules.cpu_period.unwrap_or(Duration::from_millis(100));
        let period_us = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        let quota = quota_of(resources::cpu_milli(&limits), period_us);
        wanted.cpu_quota_us = Some(if rules.cpu_period.is_some() { quota } else { -1 });
        wanted.cpu_period_us = Some(period_us);
    }
    if bounded(MEMORY) {
        wanted.memory_bytes = Some(resources::memory_bytes(&limits));
    }
    wanted
}

/// Limits of a class's cgroup, from the CPU requests of its pods in thousandths: Burstable gets
/// shares for their sum, BestEffort the least there is. Guaranteed pods have no cgroup between
/// them and kubepods.
pub fn class_limits(class: QosClass, requests_milli: i64, page_sizes: &[u64]) -> CgroupLimits {
    let shares = match class {
        QosClass::BestEffort => MIN_SHARES,
        QosClass::Burstable | QosClass::Guaranteed => shares_of(requests_milli),
    };
    let unbounded = |size: &u64| (page_size_name(*size), HUGE_PAGES_UNBOUNDED);
    CgroupLimits {
        cpu_shares: Some(shares),
        huge_pages: page_sizes.iter().map(unbounded).collect(),
        ..CgroupLimits::default()
    }
}

/// Limits of the cgroup of all pods. `usable` is what the reservations leave of the machine; with
/// `enforce` false (`enforceNodeAllocatable` without `pods`) only CPU is weighed.
pub fn kubepods_limits(
    usable: &Resources,
    pid_max: u64,
    page_sizes: &[u64],
    enforce: bool,
) -> CgroupLimits {
    let shares = Some(shares_of(resources::cpu_milli(usable)));
    if !enforce {
        return CgroupLimits { cpu_shares: shares, ..CgroupLimits::default() };
    }
    CgroupLimits {
        cpu_shares: shares,
        memory_bytes: Some(resources::memory_bytes(usable)).filter(|bytes| *bytes > 0),
        pids: i64::try_from(pid_max).ok().filter(|pids| *pids > 0),
        huge_pages: huge_pages(usable, page_sizes),
        ..CgroupLimits::default()
    }
}

/// A limit for each page size of the machine: what is listed, 0 for what is not.
fn huge_pages(list: &Resources, page_sizes: &[u64]) -> Vec<(String, u64)> {
    let amount = |size: u64| {
        let listed = list.iter().find(|(name, _)| {
            let of = name.strip_prefix(HUGE_PAGES_PREFIX).and_then(|of| Quantity::parse(of).ok());
            of.is_some_and(|of| u64::try_from(of.value()) == Ok(size))
        });
        listed.map_or(0, |(_, amount)| u64::try_from(amount.value()).unwrap_or(0))
    };
    page_sizes.iter().map(|size| (page_size_name(*size), amount(*size))).collect()
}

/// A page size as the hugetlb files spell it: `64KB`, `2MB`, `1GB`.
fn page_size_name(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    match bytes {
        size if size >= GIB && size % GIB == 0 => format!("{}GB", size / GIB),
        size if size >= MIB && size % MIB == 0 => format!("{}MB", size / MIB),
        size => format!("{}KB", size >> 10),
    }
}

#[cfg(test)]
mod tests;

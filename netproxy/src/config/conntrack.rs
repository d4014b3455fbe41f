//! Size and timeouts of connection tracking, as configured.
//!
//! **Source.** `conntrack` of `kubeproxy.config.k8s.io/v1alpha1` and its defaults, v1.36.

use std::time::Duration;

use super::file::{ConntrackSection, GoDuration};

/// Entries for each CPU (kube-proxy default, v1.36).
const MAX_PER_CORE: u32 = 32 * 1024;
/// Entries on small machines (kube-proxy default, v1.36).
const MIN: u32 = 128 * 1024;
/// The most entries that a number for each CPU leads to (kube-proxy, v1.36).
const CAP: u64 = 1024 * 1024;
/// Idle time of an established TCP connection (kube-proxy default, v1.36).
const TCP_ESTABLISHED: Duration = Duration::from_secs(24 * 3600);
/// Time in `CLOSE_WAIT` (kube-proxy default, v1.36).
const TCP_CLOSE_WAIT: Duration = Duration::from_secs(3600);

/// What the kernel is told about connection tracking. A duration of zero leaves the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConntrackSettings {
    /// Entries for each CPU, 1,048,576 in all at most; 0 leaves the size of the table alone.
    pub max_per_core: u32,
    /// At least this many entries, also above that cap.
    pub min: u32,
    /// Idle time of an established TCP connection.
    pub tcp_established_timeout: Duration,
    /// Time that a half closed TCP connection is kept.
    pub tcp_close_wait_timeout: Duration,
    /// Whether TCP segments outside the window belong to their connection all the same.
    pub tcp_be_liberal: bool,
    /// Idle time of a UDP flow without an answer.
    pub udp_timeout: Duration,
    /// Idle time of a UDP flow with answers.
    pub udp_stream_timeout: Duration,
}

impl Default for ConntrackSettings {
    /// The defaults of kube-proxy v1.36.
    fn default() -> Self {
        Self {
            max_per_core: MAX_PER_CORE,
            min: MIN,
            tcp_established_timeout: TCP_ESTABLISHED,
            tcp_close_wait_timeout: TCP_CLOSE_WAIT,
            tcp_be_liberal: false,
            udp_timeout: Duration::ZERO,
            udp_stream_timeout: Duration::ZERO,
        }
    }
}

impl ConntrackSettings {
    /// The settings of a file; what is absent has its default. A negative number counts as 0.
    pub fn from_section(section: &ConntrackSection) -> Self {
        let default = Self::default();
        let number = |value: Option<i32>, default| {
            value.map_or(default, |value| u32::try_from(value).unwrap_or(0))
        };
        let time = |value: Option<GoDuration>, default| value.map_or(default, |value| value.0);
        Self {
            max_per_core: number(section.max_per_core, default.max_per_core),
            min: number(section.min, default.min),
            tcp_established_timeout: time(
                section.tcp_established_timeout,
                default.tcp_established_timeout,
            ),
            tcp_close_wait_timeout: time(
                section.tcp_close_wait_timeout,
                default.tcp_close_wait_timeout,
            ),
            tcp_be_liberal: section.tcp_be_liberal.unwrap_or(default.tcp_be_liberal),
            udp_timeout: time(section.udp_timeout, default.udp_timeout),
            udp_stream_timeout: time(section.udp_stream_timeout, default.udp_stream_timeout),
        }
    }

    /// How many entries the table is to hold on a machine with that many CPUs; nothing when its
    /// size is left alone.
    pub fn max_entries(&self, cpus: usize) -> Option<u32> {
        if self.max_per_core == 0 {
            return None;
        }
        let cpus = u64::try_from(cpus).unwrap_or(u64::MAX);
        let scaled = u64::from(self.max_per_core).saturating_mul(cpus).min(CAP);
        let entries = scaled.max(u64::from(self.min));
        // The kernel keeps it in a signed number.
        Some(u32::try_from(entries).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests;

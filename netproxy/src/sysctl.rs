//! Kernel settings that the rules rely on.

use std::io;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::conntrack::ConntrackSettings;
use crate::config::{IpFamily, ProxyConfig};
use crate::machine::Machine;
use crate::rules::Loopback;
use crate::rules::context::loopback;

/// Lets packets to 127.0.0.0/8 leave through another interface.
const ROUTE_LOCALNET: &str = "net/ipv4/conf/all/route_localnet";
/// Most entries of connection tracking.
const MAX: &str = "net/netfilter/nf_conntrack_max";
/// Lets conntrack accept TCP segments outside the window.
const TCP_BE_LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";
const TCP_ESTABLISHED: &str = "net/netfilter/nf_conntrack_tcp_timeout_established";
const TCP_CLOSE_WAIT: &str = "net/netfilter/nf_conntrack_tcp_timeout_close_wait";
const UDP: &str = "net/netfilter/nf_conntrack_udp_timeout";
const UDP_STREAM: &str = "net/netfilter/nf_conntrack_udp_timeout_stream";
/// Buckets of the table of connection tracking.
const HASH_SIZE: &str = "nf_conntrack/parameters/hashsize";
/// Entries for each bucket (kube-proxy, v1.36).
const ENTRIES_PER_BUCKET: u32 = 4;

/// A value of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knob {
    /// Below `/proc/sys`.
    Setting(&'static str),
    /// Parameter of a module.
    Parameter(&'static str),
}

impl Knob {
    const fn name(self) -> &'static str {
        match self {
            Self::Setting(name) | Self::Parameter(name) => name,
        }
    }

    fn read(self, machine: &dyn Machine) -> Option<u64> {
        let text = match self {
            Self::Setting(name) => machine.read_setting(name),
            Self::Parameter(name) => machine.read_parameter(name),
        };
        text.ok()?.parse().ok()
    }

    fn write(self, machine: &dyn Machine, value: u64) -> io::Result<()> {
        match self {
            Self::Setting(name) => machine.write_setting(name, &value.to_string()),
            Self::Parameter(name) => machine.write_parameter(name, &value.to_string()),
        }
    }
}

/// Whether the settings of connection tracking are as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConntrackEnsured {
    /// As far as this machine lets us.
    Yes,
    /// The kernel has not loaded connection tracking; the first rules will make it.
    NotLoaded,
}

/// Switches on what NodePorts on loopback addresses need, if they are wanted. A setting that
/// cannot be written (read-only in many containers) is told and otherwise left: everything but
/// those NodePorts works without it.
pub fn ensure_route_localnet(config: &ProxyConfig, machine: &dyn Machine) {
    if loopback(config, IpFamily::V4) == Loopback::Closed {
        return;
    }
    if machine.read_setting(ROUTE_LOCALNET).is_ok_and(|value| value == "1") {
        return;
    }
    match machine.write_setting(ROUTE_LOCALNET, "1") {
        Ok(()) => info!(setting = ROUTE_LOCALNET, "switched on for node ports on loopback"),
        Err(error) => warn!(
            setting = ROUTE_LOCALNET,
            %error,
            "cannot be switched on, node ports do not answer on loopback"
        ),
    }
}

/// Writes the settings of connection tracking that differ from what is wanted. Those that cannot
/// be written (in containers, in other network namespaces than the first) are told once and
/// otherwise left.
pub fn ensure_conntrack(settings: &ConntrackSettings, machine: &dyn Machine) -> ConntrackEnsured {
    if matches!(machine.read_setting(MAX), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return ConntrackEnsured::NotLoaded;
    }
    let mut refused = Vec::new();
    for (knob, value) in conntrack_writes(settings, machine.cpu_count(), |knob| knob.read(machine))
    {
        match knob.write(machine, value) {
            Ok(()) => info!(setting = knob.name(), value, "set for connection tracking"),
            Err(error) => refused.push(format!("{} to {value}: {error}", knob.name())),
        }
    }
    if !refused.is_empty() {
        warn!(?refused, "connection tracking keeps settings of the kernel that cannot be changed");
    }
    ConntrackEnsured::Yes
}

/// The values to write, in that order, where those that are `current` differ. One that cannot be
/// read is written.
fn conntrack_writes(
    settings: &ConntrackSettings,
    cpus: usize,
    current: impl Fn(Knob) -> Option<u64>,
) -> Vec<(Knob, u64)> {
    let mut writes = Vec::new();
    let mut set = |name, value: Option<u64>| {
        let knob = Knob::Setting(name);
        writes.extend(value.filter(|value| current(knob) != Some(*value)).map(|v| (knob, v)));
    };
    let entries = settings.max_entries(cpus);
    set(MAX, entries.map(u64::from));
    set(TCP_ESTABLISHED, seconds(settings.tcp_established_timeout));
    set(TCP_CLOSE_WAIT, seconds(settings.tcp_close_wait_timeout));
    set(TCP_BE_LIBERAL, settings.tcp_be_liberal.then_some(1));
    set(UDP, seconds(settings.udp_timeout));
    set(UDP_STREAM, seconds(settings.udp_stream_timeout));
    // A table with more buckets than that is only faster.
    let buckets = entries.map(|entries| u64::from(entries / ENTRIES_PER_BUCKET));
    let knob = Knob::Parameter(HASH_SIZE);
    let too_few = |buckets: &u64| current(knob).is_none_or(|current| current < *buckets);
    writes.extend(buckets.filter(too_few).map(|buckets| (knob, buckets)));
    writes
}

/// Whole seconds, at least one; nothing for no time at all.
fn seconds(time: Duration) -> Option<u64> {
    (!time.is_zero()).then(|| time.as_secs().max(1))
}

/// Whether conntrack is liberal about TCP, by configuration or because somebody else said so; no
/// when the setting is not there.
pub fn liberal_conntrack(settings: &ConntrackSettings, machine: &dyn Machine) -> bool {
    settings.tcp_be_liberal || machine.read_setting(TCP_BE_LIBERAL).is_ok_and(|value| value != "0")
}

#[cfg(test)]
mod tests;

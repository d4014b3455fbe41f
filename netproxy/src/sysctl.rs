//! Kernel settings that the rules rely on.

use tracing::{info, warn};

use crate::config::{IpFamily, ProxyConfig};
use crate::machine::Machine;
use crate::rules::Loopback;
use crate::rules::context::loopback;

/// Lets packets to 127.0.0.0/8 leave through another interface.
const ROUTE_LOCALNET: &str = "net/ipv4/conf/all/route_localnet";
/// Lets conntrack accept TCP segments outside the window.
const TCP_BE_LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";

/// Switches on what NodePorts on loopback addresses need, if they are wanted. A setting that
/// cannot be written (read-only in many containers) is told and otherwise left: everything but
/// those NodePorts works without it.
pub fn ensure_settings(config: &ProxyConfig, machine: &dyn Machine) {
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

/// Whether conntrack was told to be liberal; no when the setting is not there.
pub fn liberal_conntrack(machine: &dyn Machine) -> bool {
    machine.read_setting(TCP_BE_LIBERAL).is_ok_and(|value| value != "0")
}

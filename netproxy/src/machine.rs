//! Settings and addresses of the machine.
//!
//! **What.** The few facts about the kernel the proxy reads, and the setting it writes.
//! **Writes.** Network settings below `/proc/sys`.

use std::io;
use std::net::IpAddr;

/// The machine, or more exactly the network namespace that the proxy works in. The calls are
/// short reads of kernel state and never wait.
pub trait Machine: Send + Sync {
    /// Addresses of all interfaces.
    fn local_addresses(&self) -> io::Result<Vec<IpAddr>>;

    /// The value of a kernel setting such as `net/ipv4/ip_forward`, without the line end.
    fn read_setting(&self, name: &str) -> io::Result<String>;

    /// Changes a kernel setting.
    fn write_setting(&self, name: &str, value: &str) -> io::Result<()>;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxMachine;

impl LinuxMachine {
    fn path(name: &str) -> String {
        format!("/proc/sys/{name}")
    }
}

impl Machine for LinuxMachine {
    fn local_addresses(&self) -> io::Result<Vec<IpAddr>> {
        let found = nix::ifaddrs::getifaddrs()?;
        let ip = |address: nix::sys::socket::SockaddrStorage| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        };
        Ok(found.filter_map(|interface| interface.address.and_then(ip)).collect())
    }

    fn read_setting(&self, name: &str) -> io::Result<String> {
        Ok(std::fs::read_to_string(Self::path(name))?.trim_end().to_owned())
    }

    fn write_setting(&self, name: &str, value: &str) -> io::Result<()> {
        std::fs::write(Self::path(name), value)
    }
}

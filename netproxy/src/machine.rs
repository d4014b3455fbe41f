//! Settings and addresses of the machine.
//!
//! **What.** The few facts about the kernel the proxy reads, and the settings it writes.
//! **Writes.** Settings below `/proc/sys`, parameters of kernel modules.

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use crate::nfnetlink::messages;

/// The machine, or more exactly the network namespace that the proxy works in. The calls are
/// short reads and writes of kernel state and never wait.
pub trait Machine: Send + Sync {
    /// Addresses of all interfaces.
    fn local_addresses(&self) -> io::Result<Vec<IpAddr>>;

    /// Watches these addresses from now on. Has to be called within a tokio runtime.
    fn watch_addresses(&self) -> io::Result<Box<dyn AddressWatch>>;

    /// The value of a kernel setting such as `net/ipv4/ip_forward`, without the line end.
    fn read_setting(&self, name: &str) -> io::Result<String>;

    /// Changes a kernel setting.
    fn write_setting(&self, name: &str, value: &str) -> io::Result<()>;

    /// The value of a module parameter such as `nf_conntrack/parameters/hashsize`, without the
    /// line end.
    fn read_parameter(&self, name: &str) -> io::Result<String>;

    /// Changes a module parameter.
    fn write_parameter(&self, name: &str, value: &str) -> io::Result<()>;

    /// CPUs that are online, whatever a cgroup leaves us of them; at least 1.
    fn cpu_count(&self) -> usize;
}

/// Tells when addresses of the machine came or went.
#[async_trait]
pub trait AddressWatch: Send {
    /// Waits until addresses may have changed since the last call. After an error no more
    /// changes are told.
    async fn changed(&mut self) -> io::Result<()>;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxMachine;

fn sysctl(name: &str) -> String {
    format!("/proc/sys/{name}")
}

fn module(name: &str) -> String {
    format!("/sys/module/{name}")
}

fn read(path: String) -> io::Result<String> {
    Ok(std::fs::read_to_string(path)?.trim_end().to_owned())
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

    fn watch_addresses(&self) -> io::Result<Box<dyn AddressWatch>> {
        Ok(Box::new(NetlinkAddressWatch::open()?))
    }

    fn read_setting(&self, name: &str) -> io::Result<String> {
        read(sysctl(name))
    }

    fn write_setting(&self, name: &str, value: &str) -> io::Result<()> {
        std::fs::write(sysctl(name), value)
    }

    fn read_parameter(&self, name: &str) -> io::Result<String> {
        read(module(name))
    }

    fn write_parameter(&self, name: &str, value: &str) -> io::Result<()> {
        std::fs::write(module(name), value)
    }

    fn cpu_count(&self) -> usize {
        let online = read("/sys/devices/system/cpu/online".to_owned()).ok();
        online.and_then(|list| cpus_in(&list)).unwrap_or(1)
    }
}

/// How many CPUs a list such as `0-3,8` names; nothing for anything else.
fn cpus_in(list: &str) -> Option<usize> {
    let counted = list.split(',').try_fold(0usize, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    });
    counted.filter(|count| *count > 0)
}

/// `RTNLGRP_IPV4_IFADDR` and `RTNLGRP_IPV6_IFADDR` as bits.
const ADDRESS_GROUPS: u32 = 1 << 4 | 1 << 8;
/// `RTM_NEWADDR` and `RTM_DELADDR`.
const ADDRESS_MESSAGES: [u16; 2] = [20, 21];
/// More changes came than the socket holds.
const OVERRUN: i32 = 105;
/// Room for one datagram of notifications.
const DATAGRAM: usize = 8 * 1024;

/// Address notifications of the kernel.
struct NetlinkAddressWatch {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl NetlinkAddressWatch {
    fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, ADDRESS_GROUPS))?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }
}

#[async_trait]
impl AddressWatch for NetlinkAddressWatch {
    async fn changed(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) => {
                    let mut kinds = messages(&self.buffer).map(|message| message.kind);
                    if kinds.any(|kind| ADDRESS_MESSAGES.contains(&kind)) {
                        return Ok(());
                    }
                }
                Err(error) if error.raw_os_error() == Some(OVERRUN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;

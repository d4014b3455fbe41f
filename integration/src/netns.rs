//! The network of a run: one segment with the control plane, the nodes and an outsider on it.
//!
//! ```text
//!   control plane (the tests' own namespace)   172.30.0.1    fd00:30::1
//!        bridge ──┬── node 1                   172.30.0.11   fd00:30::b
//!                 ├── node 2                   172.30.0.12   fd00:30::c
//!                 └── outside                  172.30.0.250  fd00:30::fa
//! ```
//!
//! Nodes reach each other's pods by routes, as on a cloud that routes pod ranges. The outsider
//! has none: it knows node addresses only.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use crate::namespaces::Namespaces;

/// Address of the control plane: API server and DNS.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
/// The same for IPv6.
pub const CONTROL_PLANE_V6: Ipv6Addr = address_v6(1);

/// Last number of the outsider's address.
const OUTSIDE: u8 = 250;
/// Last number of the first node's address, less one.
const BEFORE_NODES: u8 = 10;

/// Without one of its own, a bridge has the least of its ports' addresses, so that a node that comes
/// or goes would take the control plane from the others until they ask for its address again.
const BRIDGE_MAC: &str = "02:00:00:00:00:01";

const fn address_v4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, 0, host)
}

const fn address_v6(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, host as u16)
}

/// A node's place on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    host: u8,
}

impl Place {
    /// Its IPv4 address.
    #[must_use]
    pub fn v4(self) -> Ipv4Addr {
        address_v4(self.host)
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(self) -> Ipv6Addr {
        address_v6(self.host)
    }

    fn gateway_for(self, cidr: &str) -> IpAddr {
        if cidr.contains(':') { self.v6().into() } else { self.v4().into() }
    }
}

#[derive(Debug)]
struct Member {
    /// `None`: a machine of its own, which the tests cannot enter.
    namespaces: Option<Arc<Namespaces>>,
    /// Its port of the bridge.
    port: String,
    pod_cidrs: Vec<String>,
}

/// The segment with everybody on it.
#[derive(Debug)]
pub struct Network {
    members: Mutex<BTreeMap<u8, Member>>,
    outside: Arc<Namespaces>,
}

impl Network {
    /// Makes the segment; the control plane's end is in the calling process's namespace, which
    /// must be a private one.
    pub fn start() -> Result<Self> {
        for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            let _ = fs::write(format!("/proc/sys/{name}"), "1");
        }
        ip(
            None,
            &format!(
                "link set lo up\n\
             link add br0 address {BRIDGE_MAC} type bridge\n\
             addr add {CONTROL_PLANE}/24 dev br0\n\
             addr add {CONTROL_PLANE_V6}/64 dev br0 nodad\n\
             link set br0 up\n"
            ),
        )?;
        let outside = Arc::new(Namespaces::new_network()?);
        plug(&outside, OUTSIDE)?;
        Ok(Self { members: Mutex::default(), outside })
    }

    /// The namespace of somebody who is no node and no pod.
    #[must_use]
    pub fn outside(&self) -> &Arc<Namespaces> {
        &self.outside
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<u8, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a node: device `eth0` with an address of each family, routes to all known pods.
    pub fn attach(&self, namespaces: &Arc<Namespaces>) -> Result<Place> {
        let mut members = self.members();
        let free = (BEFORE_NODES + 1..OUTSIDE).find(|host| !members.contains_key(host));
        let place = Place { host: free.context("no address is free")? };
        plug(namespaces, place.host)?;
        let mut routes = format!(
            "route add 0.0.0.0/0 via {CONTROL_PLANE}\nroute add ::/0 via {CONTROL_PLANE_V6}\n"
        );
        for (host, member) in members.iter() {
            for cidr in &member.pod_cidrs {
                routes += &route("replace", cidr, Place { host: *host });
            }
        }
        ip(Some(namespaces), &routes)?;
        let (namespaces, port) = (Some(Arc::clone(namespaces)), port(place.host));
        members.insert(place.host, Member { namespaces, port, pod_cidrs: Vec::new() });
        Ok(place)
    }

    /// Makes the tap device `name` for a virtual machine and keeps an address for it, which the
    /// machine has to take by itself.
    pub fn attach_tap(&self, name: &str) -> Result<Place> {
        let mut members = self.members();
        let free = (BEFORE_NODES + 1..OUTSIDE).find(|host| !members.contains_key(host));
        let place = Place { host: free.context("no address is free")? };
        ip(
            None,
            &format!(
                "tuntap add dev {name} mode tap\nlink set {name} master br0\nlink set {name} up\n"
            ),
        )?;
        let member = Member { namespaces: None, port: name.to_owned(), pod_cidrs: Vec::new() };
        members.insert(place.host, member);
        Ok(place)
    }

    /// Makes the pod ranges of a node reachable from the control plane and all other nodes.
    pub fn route_pods(&self, place: Place, cidrs: &[String]) -> Result<()> {
        let mut members = self.members();
        let member = members.get_mut(&place.host).context("no such node")?;
        member.pod_cidrs.extend_from_slice(cidrs);
        let routes: String = cidrs.iter().map(|cidr| route("replace", cidr, place)).collect();
        ip(None, &routes)?;
        let others = members.iter().filter(|(host, _)| **host != place.host);
        for namespaces in others.filter_map(|(_, other)| other.namespaces.as_ref()) {
            ip(Some(namespaces), &routes)?;
        }
        Ok(())
    }

    /// Forgets a node and the routes to its pods. Its own end vanishes with its namespaces.
    pub fn detach(&self, place: Place) {
        let mut members = self.members();
        let Some(gone) = members.remove(&place.host) else { return };
        // The peer vanishes late, after the last process; the name is needed again before.
        let _ = ip(None, &format!("link del {}\n", gone.port));
        let routes: String = gone.pod_cidrs.iter().map(|cidr| route("del", cidr, place)).collect();
        let _ = ip(None, &routes);
        for namespaces in members.values().filter_map(|member| member.namespaces.as_ref()) {
            let _ = ip(Some(namespaces), &routes);
        }
    }

    /// Breaks or mends a node's connection to everybody, as pulling the cable does.
    pub fn set_connected(&self, place: Place, connected: bool) -> Result<()> {
        let state = if connected { "up" } else { "down" };
        ip(None, &format!("link set {} {state}\n", port(place.host)))
    }
}

/// Name of the bridge's port for a host.
fn port(host: u8) -> String {
    format!("port{host}")
}

fn route(verb: &str, cidr: &str, place: Place) -> String {
    format!("route {verb} {cidr} via {}\n", place.gateway_for(cidr))
}

/// Joins a namespace to the bridge with addresses of this host number.
fn plug(namespaces: &Arc<Namespaces>, host: u8) -> Result<()> {
    let port = port(host);
    ip(
        Some(namespaces),
        &format!(
            "link set lo up\n\
         link add eth0 type veth peer name {port} netns {}\n\
         addr add {}/24 dev eth0\n\
         addr add {}/64 dev eth0 nodad\n\
         link set eth0 up\n",
            std::process::id(),
            address_v4(host),
            address_v6(host),
        ),
    )?;
    ip(None, &format!("link set {port} master br0\nlink set {port} up\n"))
}

/// Runs lines of `ip` commands in a network namespace, the caller's when `None`.
fn ip(namespaces: Option<&Arc<Namespaces>>, lines: &str) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let work = || {
        let mut child = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run ip of iproute2")?;
        let mut stdin = child.stdin.take().context("no pipe to ip")?;
        stdin.write_all(lines.as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("ip: {}; commands:\n{lines}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    };
    match namespaces {
        Some(namespaces) => namespaces.run(work),
        None => work(),
    }
}

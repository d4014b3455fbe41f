//! A node, a client outside of the cluster, two hosts with remote pods, and two local pods; each
//! in a namespace of its own.
//!
//! Host `n` is linked with the node by 10.0.n.0/24 and fd00:10::n:0/112, where the node has .1 and
//! the host .2. Pods have addresses of 10.244.n.0/24 and fd00:244:n::/64. So whoever is asked
//! sees from the source address whether the node masqueraded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netproxy::config::IpFamily;
use tokio::runtime::Runtime;

use super::network::{Netns, run, run_with_input};
use super::server::Server;

/// Both families, in the order in which tests go through them.
pub const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];
/// The port on which pods answer.
pub const POD_PORT: u16 = 8080;

/// Where a connection can begin or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    number: u8,
    host: u8,
}

/// Outside of the cluster.
pub const CLIENT: Place = Place { number: 1, host: 2 };
/// A pod on another host.
pub const FAR_A: Place = Place { number: 2, host: 2 };
/// A pod on a third host.
pub const FAR_B: Place = Place { number: 3, host: 2 };
/// A pod on the node.
pub const NEAR_A: Place = Place { number: 4, host: 2 };
/// Another pod on the node.
pub const NEAR_B: Place = Place { number: 5, host: 2 };
/// The node itself.
pub const NODE: Place = Place { number: 1, host: 1 };

/// The source addresses that count as pods of the cluster.
pub const POD_NETWORKS: [&str; 2] = ["10.244.0.0/16", "fd00:244::/32"];
/// Every pod.
const PODS: [Place; 4] = [FAR_A, FAR_B, NEAR_A, NEAR_B];

impl Place {
    /// Another one in the same namespace; its address exists after [`Network::extend`].
    pub const fn other(self, host: u8) -> Self {
        Self { host, ..self }
    }

    /// Whether it is on the node.
    pub fn is_near(self) -> bool {
        self.number >= NEAR_A.number
    }

    /// Its own address.
    pub fn ip(self, family: IpFamily) -> IpAddr {
        if self.number == CLIENT.number {
            return link_ip(family, self.number, self.host);
        }
        let (number, host) = (self.number, self.host);
        match family {
            IpFamily::V4 => Ipv4Addr::new(10, 244, number, host).into(),
            IpFamily::V6 => {
                Ipv6Addr::new(0xfd00, 0x244, number.into(), 0, 0, 0, 0, host.into()).into()
            }
        }
    }

    /// The address of the node next to it, which is what it sees of masqueraded traffic.
    pub fn gateway(self, family: IpFamily) -> IpAddr {
        link_ip(family, self.number, 1)
    }

    /// The name of the node's interface towards it.
    pub fn device(self) -> String {
        match self.number {
            1 => "outside".to_owned(),
            number if self.is_near() => format!("pod{number}"),
            number => format!("host{number}"),
        }
    }
}

fn link_ip(family: IpFamily, number: u8, host: u8) -> IpAddr {
    match family {
        IpFamily::V4 => Ipv4Addr::new(10, 0, number, host).into(),
        IpFamily::V6 => Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, number.into(), host.into()).into(),
    }
}

const fn host_bits(family: IpFamily) -> u8 {
    match family {
        IpFamily::V4 => 32,
        IpFamily::V6 => 128,
    }
}

/// The network; the namespace of the test is its node.
pub struct Network {
    spaces: Vec<(u8, Netns)>,
    /// Runs servers and load, beside the test and its proxy.
    outside: Option<Runtime>,
    _servers: Vec<Server>,
}

impl Network {
    /// Builds it. Each pod answers over TCP and UDP on [`POD_PORT`].
    pub fn build() -> Self {
        for (setting, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            // Rejections are counted on, so none may be left out.
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv6/icmp/ratelimit", "0"),
        ] {
            set(setting, value);
        }
        without_address_checks();
        let spaces = [CLIENT, FAR_A, FAR_B, NEAR_A, NEAR_B].map(|place| {
            let space = Netns::make();
            space.within(without_address_checks);
            connect(place, &space);
            (place.number, space)
        });
        // Traffic to service addresses must have somewhere to go, to reach the hooks at all.
        run("ip", &["route", "add", "default", "via", "10.0.1.2"]);
        run("ip", &["-6", "route", "add", "default", "via", "fd00:10::1:2"]);
        let outside = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut network =
            Self { spaces: spaces.into(), outside: Some(outside), _servers: Vec::new() };
        network._servers = PODS.map(|pod| network.serve(pod)).into();
        network
    }

    /// Runs `work` in the namespace of a place.
    pub fn within<T>(&self, place: Place, work: impl FnOnce() -> T) -> T {
        match self.spaces.iter().find(|(number, _)| place != NODE && *number == place.number) {
            Some((_, space)) => space.within(work),
            None => work(),
        }
    }

    /// Answers on the addresses of a pod until the server is dropped or stopped.
    pub fn serve(&self, pod: Place) -> Server {
        self.within(pod, || Server::start(FAMILIES.map(|family| pod.ip(family)), self.outside()))
    }

    /// Gives the namespace of a place the addresses of further ones.
    pub fn extend(&self, place: Place, hosts: impl IntoIterator<Item = u8>) {
        let mut batch = String::new();
        for host in hosts {
            for family in FAMILIES {
                let address = place.other(host).ip(family);
                // The client's are on its link, where the node looks for them.
                let (device, bits) = match (place.number == CLIENT.number, family) {
                    (false, family) => ("lo", host_bits(family)),
                    (true, IpFamily::V4) => ("eth0", 24),
                    (true, IpFamily::V6) => ("eth0", 112),
                };
                let checked = if family == IpFamily::V6 { " nodad" } else { "" };
                batch += &format!("address add {address}/{bits} dev {device}{checked}\n");
            }
        }
        self.within(place, || run_with_input("ip", &["-batch", "-"], &batch));
    }

    /// Where servers and load run.
    pub fn outside(&self) -> &tokio::runtime::Handle {
        self.outside.as_ref().unwrap().handle()
    }

    /// The namespace of a place other than the node.
    pub fn space(&self, place: Place) -> &Netns {
        &self.spaces.iter().find(|(number, _)| *number == place.number).unwrap().1
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(outside) = self.outside.take() {
            outside.shutdown_background();
        }
    }
}

/// Changes a setting of the namespace that the thread is in.
pub fn set(setting: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{setting}"), value).unwrap();
}

/// Lets link-local addresses be used at once. Without them no neighbour can be asked for.
fn without_address_checks() {
    set("ipv6/conf/default/accept_dad", "0");
    set("ipv6/conf/default/dad_transmits", "0");
}

fn connect(place: Place, space: &Netns) {
    let device = place.device();
    let number = place.number;
    let mut node = format!("link add {device} type veth peer name eth0 netns {}\n", space.path());
    let mut inside = String::new();
    for (family, everywhere, bits, checked) in
        [(IpFamily::V4, "0.0.0.0/0", 24, ""), (IpFamily::V6, "::/0", 112, " nodad")]
    {
        let [gateway, peer] = [1, 2].map(|host| link_ip(family, number, host));
        node += &format!("address add {gateway}/{bits} dev {device}{checked}\n");
        inside += &format!("address add {peer}/{bits} dev eth0{checked}\n");
        if place != CLIENT {
            let ip = place.ip(family);
            inside += &format!("address add {ip}/{} dev lo{checked}\n", host_bits(family));
        }
        let ip = place.ip(family);
        inside += "link set eth0 up\n";
        inside += &format!("route add {everywhere} via {gateway} dev eth0 src {ip}\n");
    }
    node += &format!("link set {device} up\n");
    if place != CLIENT {
        node += &format!("route add 10.244.{number}.0/24 via 10.0.{number}.2 dev {device}\n");
        node += &format!("route add fd00:244:{number}::/64 via fd00:10::{number}:2 dev {device}\n");
    }
    run_with_input("ip", &["-batch", "-"], &node);
    space.within(|| {
        // What the node does not answer for must not come back to it.
        set("ipv4/ip_forward", "0");
        run_with_input("ip", &["-batch", "-"], &inside);
    });
}

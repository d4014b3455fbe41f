//! Which endpoints answer whom, and what they see: every way into every kind of service.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures::{StreamExt, future, stream};
use netproxy::ServiceChange;
use netproxy::config::{IpFamily, LocalTraffic};
use netproxy::input::Protocol;

use crate::ask::{ANSWER, Answer, Failure, LOST, Said};
use crate::fixture::{FROM_OUTSIDE, Way, external, internal, name, node_port, running, slice_for};
use crate::fixture::{SERVICE_PORT, WithPods};
use crate::mode::{Mode, in_every_mode};
use crate::proxy::{RunningProxy, config};
use crate::topology::{CLIENT, FAMILIES, FAR_A, FAR_B, NEAR_A, NEAR_B, NODE, Network, Place};

/// Connections after which an endpoint that should not answer would have.
const ENOUGH: usize = 16;
/// Connections after which every endpoint has answered, or does not.
const MANY: usize = 400;

/// Rows checked at the same time, because those without an answer take their time.
const AT_ONCE: usize = 32;

const POD: Place = NEAR_B;
const OUTSIDE: Place = CLIENT;
const ANYWHERE: &[Place] = &[NEAR_A, FAR_A, FAR_B];
const HERE: &[Place] = &[NEAR_A];
const ELSEWHERE: &[Place] = &[FAR_A, FAR_B];

/// Policy Cluster for all, endpoints here and elsewhere.
const CLUSTER: u8 = 1;
/// Policy Local for all, the same endpoints.
const LOCAL: u8 = 2;
/// Policy Local for all, endpoints elsewhere only.
const LOCAL_ELSEWHERE: u8 = 3;
/// Policy Cluster, no endpoints.
const EMPTY: u8 = 4;
/// Policy Local, no endpoints.
const LOCAL_EMPTY: u8 = 5;
/// Policy Cluster, one endpoint.
const SINGLE: u8 = 6;
/// Policy Local, one endpoint.
const LOCAL_SINGLE: u8 = 7;
/// Policy Cluster with one port number for each protocol.
const PROTOCOLS: u8 = 8;

#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Exactly these answer, and see the source of the connection.
    Seen(&'static [Place]),
    /// Exactly these answer, and see the node.
    Masked(&'static [Place]),
    Refused,
    Dropped,
    /// iptables has no opinion, so that the packet goes where its address leads, which is nowhere;
    /// nftables refuses.
    Unclaimed,
}
use Fate::{Dropped, Masked, Refused, Seen, Unclaimed};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Settings {
    /// Pods are recognised by their addresses.
    Detector,
    /// Pods are not recognised.
    NoDetector,
    /// Everything to cluster addresses is masqueraded, and pods are not recognised.
    MasqueradeAll,
}

/// Source, way in, service, and the fate in each of the settings.
type Row = (Place, &'static [Way], u8, [Fate; 3]);

const CLUSTER_IP: &[Way] = &[Way::ClusterIp];
const EXTERNAL: &[Way] = &FROM_OUTSIDE;
const NODE_PORT: &[Way] = &[Way::NodePort];
const ADDRESSES: &[Way] = &[Way::ExternalIp, Way::LoadBalancer];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (POD, CLUSTER_IP, CLUSTER, [Seen(ANYWHERE), Seen(ANYWHERE), Masked(ANYWHERE)]),
    (POD, CLUSTER_IP, LOCAL, [Seen(HERE), Seen(HERE), Masked(HERE)]),
    (POD, CLUSTER_IP, LOCAL_ELSEWHERE, [Dropped; 3]),
    (POD, CLUSTER_IP, EMPTY, [Refused; 3]),
    (POD, CLUSTER_IP, LOCAL_EMPTY, [Refused; 3]),
    (FAR_B, CLUSTER_IP, SINGLE, [Seen(HERE), Seen(HERE), Masked(HERE)]),

    (NODE, CLUSTER_IP, CLUSTER, [Masked(ANYWHERE), Seen(ANYWHERE), Masked(ANYWHERE)]),
    (NODE, CLUSTER_IP, LOCAL, [Masked(HERE), Seen(HERE), Masked(HERE)]),
    (NODE, CLUSTER_IP, LOCAL_ELSEWHERE, [Dropped; 3]),
    (NODE, CLUSTER_IP, EMPTY, [Refused; 3]),
    (NODE, CLUSTER_IP, LOCAL_EMPTY, [Refused; 3]),

    (OUTSIDE, CLUSTER_IP, CLUSTER, [Masked(ANYWHERE), Seen(ANYWHERE), Masked(ANYWHERE)]),
    (OUTSIDE, CLUSTER_IP, LOCAL, [Masked(HERE), Seen(HERE), Masked(HERE)]),
    (OUTSIDE, CLUSTER_IP, LOCAL_ELSEWHERE, [Dropped; 3]),
    (OUTSIDE, CLUSTER_IP, EMPTY, [Refused; 3]),
    (OUTSIDE, CLUSTER_IP, LOCAL_EMPTY, [Refused; 3]),

    (POD, EXTERNAL, CLUSTER, [Masked(ANYWHERE); 3]),
    (POD, EXTERNAL, LOCAL, [Seen(ANYWHERE), Seen(HERE), Seen(HERE)]),
    (POD, EXTERNAL, LOCAL_ELSEWHERE, [Seen(ELSEWHERE), Dropped, Dropped]),
    (POD, EXTERNAL, EMPTY, [Refused; 3]),
    (POD, EXTERNAL, LOCAL_EMPTY, [Refused; 3]),

    (NODE, EXTERNAL, CLUSTER, [Masked(ANYWHERE); 3]),
    (NODE, EXTERNAL, LOCAL, [Masked(ANYWHERE); 3]),
    (NODE, EXTERNAL, LOCAL_ELSEWHERE, [Masked(ELSEWHERE); 3]),
    (NODE, NODE_PORT, EMPTY, [Refused; 3]),
    (NODE, NODE_PORT, LOCAL_EMPTY, [Refused; 3]),
    (NODE, ADDRESSES, EMPTY, [Unclaimed; 3]),
    (NODE, ADDRESSES, LOCAL_EMPTY, [Unclaimed; 3]),

    (OUTSIDE, EXTERNAL, CLUSTER, [Masked(ANYWHERE); 3]),
    (OUTSIDE, EXTERNAL, LOCAL, [Seen(HERE); 3]),
    (OUTSIDE, EXTERNAL, LOCAL_ELSEWHERE, [Dropped; 3]),
    (OUTSIDE, EXTERNAL, EMPTY, [Refused; 3]),
    (OUTSIDE, EXTERNAL, LOCAL_EMPTY, [Refused; 3]),

    (NEAR_A, CLUSTER_IP, SINGLE, [Masked(HERE); 3]),
    (NEAR_A, CLUSTER_IP, LOCAL_SINGLE, [Masked(HERE); 3]),
    (NEAR_A, EXTERNAL, SINGLE, [Masked(HERE); 3]),
    (NEAR_A, EXTERNAL, LOCAL_SINGLE, [Masked(HERE); 3]),
];

/// The same from a loopback address to the node port, which only iptables has, and only in IPv4.
#[rustfmt::skip]
const LOOPBACK_ROWS: &[(u8, Fate)] = &[
    (CLUSTER, Masked(ANYWHERE)),
    (LOCAL, Masked(ANYWHERE)),
    (LOCAL_ELSEWHERE, Masked(ELSEWHERE)),
    (EMPTY, Refused),
    (LOCAL_EMPTY, Refused),
];

fn services() -> Vec<ServiceChange> {
    let local = |number| external(number).internal_local().external_local();
    [
        running(external(CLUSTER), CLUSTER, ANYWHERE),
        running(local(LOCAL), LOCAL, ANYWHERE),
        running(local(LOCAL_ELSEWHERE), LOCAL_ELSEWHERE, ELSEWHERE),
        running(external(EMPTY), EMPTY, &[]),
        running(local(LOCAL_EMPTY), LOCAL_EMPTY, &[]),
        running(external(SINGLE), SINGLE, HERE),
        running(local(LOCAL_SINGLE), LOCAL_SINGLE, HERE),
    ]
    .concat()
}

/// A question to be asked many times.
struct Question<'a> {
    network: &'a Network,
    from: Place,
    own: Option<IpAddr>,
    protocol: Protocol,
    to: SocketAddr,
}

impl<'a> Question<'a> {
    fn new(network: &'a Network, from: Place, protocol: Protocol, to: SocketAddr) -> Self {
        let own = (from != NODE).then(|| from.ip(IpFamily::of(to.ip())));
        Self { network, from, own, protocol, to }
    }

    async fn ask(&self, fate: Fate) -> Answer {
        let patience = if matches!(fate, Dropped) { LOST } else { ANSWER };
        self.network.ask_from(self.from, self.own, self.protocol, self.to, patience).await
    }

    /// What is wrong, if anything.
    async fn check(&self, fate: Fate) -> Option<String> {
        let expected = self.expected(fate);
        let mut found = BTreeSet::new();
        for count in 1..=MANY {
            found.insert(self.ask(fate).await);
            let settled = fate.is_certain() || count >= ENOUGH;
            if !found.is_subset(&expected) || (settled && found == expected) {
                break;
            }
        }
        (found != expected).then(|| {
            let (from, to, protocol) = (self.from, self.to, self.protocol);
            format!(
                "{from:?} to {to} over {protocol:?}:\n  expected {expected:?}\n     found {found:?}"
            )
        })
    }

    fn expected(&self, fate: Fate) -> BTreeSet<Answer> {
        let family = IpFamily::of(self.to.ip());
        let own = self.own.unwrap_or_else(|| NODE.ip(family));
        match fate {
            Seen(pods) => {
                pods.iter().map(|pod| Ok(Said { by: pod.ip(family), saw: own })).collect()
            }
            Masked(pods) => {
                let said = |pod: &Place| Said { by: pod.ip(family), saw: pod.gateway(family) };
                pods.iter().map(|pod| Ok(said(pod))).collect()
            }
            Refused => [Err(Failure::Refused)].into(),
            Dropped | Unclaimed => [Err(Failure::Silence)].into(),
        }
    }
}

impl Fate {
    /// What differs between the back ends.
    fn in_mode(self, mode: Mode) -> Self {
        match (self, mode) {
            (Unclaimed, Mode::Nftables) => Refused,
            (Unclaimed, Mode::Iptables | Mode::LegacyIptables) => Dropped,
            (fate, _) => fate,
        }
    }

    /// Whether one question tells all.
    fn is_certain(self) -> bool {
        !matches!(self, Seen(_) | Masked(_))
    }
}

async fn wrong_ones(
    at_once: usize,
    questions: impl Iterator<Item = (Question<'_>, Fate)>,
) -> Vec<String> {
    let checks = questions.map(|(question, fate)| async move { question.check(fate).await });
    stream::iter(checks).buffer_unordered(at_once).filter_map(future::ready).collect().await
}

async fn check_rows(mode: Mode, settings: Settings) {
    let network = Network::build();
    let mut config = config(mode);
    if settings != Settings::Detector {
        config.local_traffic = LocalTraffic::ClusterCidrs(Vec::new());
    }
    config.masquerade_all = settings == Settings::MasqueradeAll;
    let mut proxy = RunningProxy::configured(mode, config).await;
    proxy.relist(services()).await;
    let rows = ROWS.iter().flat_map(|(from, ways, service, fates)| {
        let each = ways.iter().flat_map(|way| FAMILIES.map(|family| way.to(family, *service)));
        each.map(|to| (*from, to, fates[settings as usize].in_mode(mode)))
    });
    let loopback = LOOPBACK_ROWS.iter().map(|(service, fate)| {
        let fate = if mode == Mode::Nftables { Refused } else { *fate };
        (NODE, SocketAddr::from((Ipv4Addr::LOCALHOST, node_port(*service))), fate)
    });
    let questions = rows
        .chain(loopback)
        .map(|(from, to, fate)| (Question::new(&network, from, Protocol::Tcp, to), fate));
    let wrong = wrong_ones(AT_ONCE, questions).await;
    assert!(wrong.is_empty(), "{settings:?}:\n{}", wrong.join("\n"));
    proxy.stop().await;
}

async fn connections_end_where_policies_say(mode: Mode) {
    check_rows(mode, Settings::Detector).await;
}

async fn connections_end_where_policies_say_if_pods_are_not_recognised(mode: Mode) {
    check_rows(mode, Settings::NoDetector).await;
}

async fn connections_end_where_policies_say_if_all_are_masqueraded(mode: Mode) {
    check_rows(mode, Settings::MasqueradeAll).await;
}

async fn protocols_with_one_port_number_are_kept_apart(mode: Mode) {
    const BACKENDS: [(Protocol, &[Place]); 3] = [
        (Protocol::Tcp, &[NEAR_A]),
        (Protocol::Udp, &[FAR_A, NEAR_A]),
        (Protocol::Sctp, &[FAR_B, NEAR_A]),
    ];
    let network = Network::build();
    let mut proxy = RunningProxy::start(mode).await;
    let mut changes = Vec::new();
    let mut service = internal(PROTOCOLS).with(|service| service.spec.ports.clear());
    let mut unbacked = internal(EMPTY).with(|service| service.spec.ports.clear());
    for (protocol, pods) in BACKENDS {
        // Ports of one service need names of their own.
        let port = format!("{protocol:?}").to_lowercase();
        service = service.port(&port, protocol, SERVICE_PORT).node_port(node_port(PROTOCOLS));
        unbacked = unbacked.port(&port, protocol, SERVICE_PORT).node_port(node_port(EMPTY));
        for family in FAMILIES {
            let slice = slice_for(family, PROTOCOLS, protocol)
                .named(&format!("{}-{port}-{family}", name(PROTOCOLS)))
                .with(|slice| slice.ports[0].name = Some(port.as_str().into()));
            changes.push(pods.iter().fold(slice, |slice, pod| slice.pod(family, *pod)).applied());
        }
    }
    changes.extend([service.applied(), unbacked.applied()]);
    proxy.relist(changes).await;

    let mut questions = Vec::new();
    for (protocol, pods) in BACKENDS {
        for family in FAMILIES {
            for (from, way, number, fate) in [
                (POD, Way::ClusterIp, PROTOCOLS, Seen(pods)),
                (OUTSIDE, Way::ClusterIp, PROTOCOLS, Masked(pods)),
                (OUTSIDE, Way::NodePort, PROTOCOLS, Masked(pods)),
                (NODE, Way::NodePort, PROTOCOLS, Masked(pods)),
                (POD, Way::ClusterIp, EMPTY, Refused),
                (OUTSIDE, Way::NodePort, EMPTY, Refused),
            ] {
                let to = way.to(family, number);
                questions.push((Question::new(&network, from, protocol, to), fate));
            }
        }
    }
    // One at a time: a rejection is told to every raw socket that talks to the same address.
    let wrong = wrong_ones(1, questions.into_iter()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    proxy.stop().await;
}

in_every_mode!(
    connections_end_where_policies_say,
    connections_end_where_policies_say_if_pods_are_not_recognised,
    connections_end_where_policies_say_if_all_are_masqueraded,
    protocols_with_one_port_number_are_kept_apart,
);

//! Connection tracking through netlink.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_proto::ConnectionHandle;
use netlink_proto::sys::SocketAddr as NetlinkAddress;
use netlink_proto::sys::protocols::NETLINK_NETFILTER;
use tokio_stream::StreamExt;

use super::boundary::{Conntrack, ConntrackError, Flow};
use crate::config::IpFamily;

/// Time for one dump or one batch of deletions.
const LIMIT: Duration = Duration::from_secs(30);
/// Deletions in flight at once, so that the answers fit into the socket's receive buffer (about
/// 200 kB by default, an answer with its skeleton takes less than 1 kB).
const BATCH: usize = 128;
/// `ENOENT`.
const NOT_FOUND: i32 = 2;

/// Connection tracking of the network namespace that the caller is in.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetlinkConntrack;

#[async_trait]
impl Conntrack for NetlinkConntrack {
    async fn list_udp(&self, family: IpFamily) -> Result<Vec<Flow>, ConntrackError> {
        with_connection("dump", async |handle| {
            let request =
                message(family, NLM_F_REQUEST | NLM_F_DUMP, ConntrackMessage::Get(Vec::new()));
            let mut answers = std::pin::pin!(send(&handle, vec![request])?);
            let mut flows = Vec::new();
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::InnerMessage(NetfilterMessage {
                        inner: NetfilterMessageInner::Conntrack(ConntrackMessage::New(entry)),
                        ..
                    }) => flows.extend(udp_flow(&entry)),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(ConntrackError::Refused {
                            action: "dump",
                            source: error.to_io(),
                        });
                    }
                    _ => {}
                }
            }
            Ok(flows)
        })
        .await
    }

    async fn delete(&self, flows: &[Flow]) -> Result<(), ConntrackError> {
        for batch in flows.chunks(BATCH) {
            with_connection("delete", async |handle| {
                let requests = batch.iter().map(deletion).collect();
                let mut answers = std::pin::pin!(send(&handle, requests)?);
                while let Some(answer) = answers.next().await {
                    if let NetlinkPayload::Error(error) = answer.payload
                        && error.code.is_some_and(|code| code.get() != -NOT_FOUND)
                    {
                        return Err(ConntrackError::Refused {
                            action: "delete",
                            source: error.to_io(),
                        });
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Runs `work` with a connection that is closed afterwards. Calls are rare, so no socket is kept.
async fn with_connection<T>(
    action: &'static str,
    work: impl AsyncFnOnce(ConnectionHandle<NetfilterMessage>) -> Result<T, ConntrackError>,
) -> Result<T, ConntrackError> {
    let (connection, handle, _messages) =
        netlink_proto::new_connection(NETLINK_NETFILTER).map_err(ConntrackError::Open)?;
    let work = tokio::time::timeout(LIMIT, work(handle));
    tokio::pin!(connection, work);
    let outcome = tokio::select! {
        outcome = &mut work => outcome,
        // The connection ends by itself only when the kernel closed it; then the answers end too.
        () = &mut connection => work.await,
    };
    outcome.map_err(|_| ConntrackError::Deadline(action))?
}

fn send(
    handle: &ConnectionHandle<NetfilterMessage>,
    requests: Vec<NetlinkMessage<NetfilterMessage>>,
) -> Result<
    impl tokio_stream::Stream<Item = NetlinkMessage<NetfilterMessage>> + use<>,
    ConntrackError,
> {
    handle
        .request_batch(requests, NetlinkAddress::new(0, 0))
        .map_err(|error| ConntrackError::Send(error.to_string().into()))
}

fn message(
    family: IpFamily,
    flags: u16,
    request: ConntrackMessage,
) -> NetlinkMessage<NetfilterMessage> {
    let family = match family {
        IpFamily::V4 => NetfilterProtoFamily::IPv4,
        IpFamily::V6 => NetfilterProtoFamily::IPv6,
    };
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let request = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), request);
    NetlinkMessage::new(header, NetlinkPayload::from(request))
}

fn deletion(flow: &Flow) -> NetlinkMessage<NetfilterMessage> {
    let tuple = vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(flow.source.ip()),
            IPTuple::DestinationAddress(flow.destination.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Protocol::Udp),
            ProtoTuple::SourcePort(flow.source.port()),
            ProtoTuple::DestinationPort(flow.destination.port()),
        ]),
    ];
    let entry = ConntrackMessage::Delete(vec![ConntrackAttribute::CtaTupleOrig(tuple)]);
    message(IpFamily::of(flow.source.ip()), NLM_F_REQUEST | NLM_F_ACK, entry)
}

/// The flow of an entry; nothing for other protocols and for entries without ports.
fn udp_flow(entry: &[ConntrackAttribute]) -> Option<Flow> {
    let mut original = None;
    let mut reply = None;
    for attribute in entry {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = udp_ends(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = udp_ends(tuple),
            _ => {}
        }
    }
    let (source, destination) = original?;
    Some(Flow { source, destination, answered_by: reply?.0 })
}

/// Source and destination of a direction, if it is UDP.
fn udp_ends(tuple: &[Tuple]) -> Option<(SocketAddr, SocketAddr)> {
    let (mut source, mut destination): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    let (mut source_port, mut destination_port, mut udp) = (None, None, false);
    for part in tuple {
        match part {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(address) => source = Some(*address),
                        IPTuple::DestinationAddress(address) => destination = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(protocol) => udp = *protocol == Protocol::Udp,
                        ProtoTuple::SourcePort(port) => source_port = Some(*port),
                        ProtoTuple::DestinationPort(port) => destination_port = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let ends =
        (SocketAddr::new(source?, source_port?), SocketAddr::new(destination?, destination_port?));
    udp.then_some(ends)
}

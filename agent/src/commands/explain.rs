//! `noded explain`: a service, a packet.

use std::net::{IpAddr, SocketAddr};

use netproxy::config::IpFamily;
use netproxy::conntrack::NetlinkConntrack;
use netproxy::explain::packet::Question;
use netproxy::explain::service::ServiceFacts;
use netproxy::explain::text::{packet_text, service_text};
use netproxy::explain::{FamilyPlan, LiveState, connections, explain_packet, explain_service};
use netproxy::input::{ObjectKey, Protocol};

use super::facts::Facts;
use super::print;
use crate::cli::{Output, SettingFlags};
use crate::exit::{ExitReason, Fatal};

/// A packet that was asked about.
pub(super) struct AskedPacket {
    pub source: IpAddr,
    pub destination: SocketAddr,
    pub protocol: Protocol,
    pub interface: Option<String>,
}

/// What is done for a service.
pub(super) async fn service(
    settings: &SettingFlags,
    (key, from): (&ObjectKey, Option<IpAddr>),
    output: Output,
    said: &mut String,
) -> Result<u8, Fatal> {
    let facts = Facts::gather(settings).await?;
    let plans: Vec<(FamilyPlan, Result<&LiveState, String>)> = facts
        .families()
        .into_iter()
        .map(|family| (facts.plan(family), facts.live(family)))
        .collect();
    let asked =
        ServiceFacts { map: &facts.map, key, from, local_addresses: &facts.kernel.local_addresses };
    let report = explain_service(asked, &plans).ok_or_else(|| facts.missing(key))?;
    print(said, output, &report, service_text)?;
    finish(&facts)
}

/// What becomes of a packet.
pub(super) async fn packet(
    settings: &SettingFlags,
    asked: &AskedPacket,
    output: Output,
    said: &mut String,
) -> Result<u8, Fatal> {
    let facts = Facts::gather(settings).await?;
    let family = IpFamily::of(asked.destination.ip());
    let question = Question {
        source: asked.source,
        destination: asked.destination,
        protocol: asked.protocol,
        interface: asked.interface.as_deref(),
        local_addresses: &facts.kernel.local_addresses,
    };
    let plan = facts.plan(family);
    // Without the right to look at them connections are left out; the exit code tells it already.
    let known = connections(&NetlinkConntrack, &question).await.ok();
    let report = explain_packet(&question, &plan, facts.live(family), known);
    print(said, output, &report, packet_text)?;
    finish(&facts)
}

/// The answer is out; what is missing of it is told by the exit code.
fn finish(facts: &Facts) -> Result<u8, Fatal> {
    if let Some(unread) = facts.unread() {
        return Err(unread);
    }
    match facts.doubt() {
        Some(doubt) => Err(Fatal::new(ExitReason::NotFound, doubt)),
        None => Ok(0),
    }
}

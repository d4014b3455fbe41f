//! EndpointSlice, as far as the proxy needs it.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::address::{Parsed, null_as_default};
use super::metadata::Metadata;
use super::service::Protocol;

/// `addressType` of a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressType {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Host names and everything else; such a slice is not proxied.
    #[default]
    Other,
}

impl<'de> Deserialize<'de> for AddressType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match &*std::borrow::Cow::<'de, str>::deserialize(deserializer)? {
            "IPv4" => Self::Ipv4,
            "IPv6" => Self::Ipv6,
            _ => Self::Other,
        })
    }
}

/// Annotation with the time of the change of a pod or Service that a slice was written for.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// `metadata`; the label `kubernetes.io/service-name` names the service.
    #[serde(deserialize_with = "null_as_default")]
    pub metadata: Metadata,
    /// What the addresses are.
    #[serde(deserialize_with = "null_as_default")]
    pub address_type: AddressType,
    /// Ports that every endpoint of the slice has.
    #[serde(deserialize_with = "null_as_default")]
    pub ports: Vec<SlicePort>,
    /// Endpoints.
    #[serde(deserialize_with = "null_as_default")]
    pub endpoints: Vec<SliceEndpoint>,
}

impl EndpointSlice {
    /// When what the slice was last written for happened; nothing when it does not say.
    pub fn triggered_at(&self) -> Option<Timestamp> {
        self.metadata.annotations.get(TRIGGER_TIME)?.parse().ok()
    }
}

/// One of `ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlicePort {
    /// Name; empty for a port without name, absent for a port to skip.
    pub name: Option<Arc<str>>,
    /// Protocol.
    #[serde(deserialize_with = "null_as_default")]
    pub protocol: Parsed<Protocol>,
    /// Number; absent or 0 for a port to skip.
    #[serde(deserialize_with = "null_as_default")]
    pub port: u16,
}

/// One of `endpoints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SliceEndpoint {
    /// The first of `addresses`: they are interchangeable and only the first is ever used.
    #[serde(rename = "addresses", deserialize_with = "first_address")]
    pub address: Option<Parsed<IpAddr>>,
    /// State.
    #[serde(deserialize_with = "null_as_default")]
    pub conditions: Conditions,
    /// Node it runs on.
    pub node_name: Option<Arc<str>>,
    /// Zone it runs in.
    pub zone: Option<Arc<str>>,
    /// Who should use it.
    #[serde(deserialize_with = "null_as_default")]
    pub hints: Hints,
}

/// `conditions` of an endpoint; what is absent has the default named at the reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Conditions {
    /// Wants new connections. Absent means yes.
    pub ready: Option<bool>,
    /// Answers. Absent means yes.
    pub serving: Option<bool>,
    /// Is being deleted. Absent means no.
    pub terminating: Option<bool>,
}

/// `hints` of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hints {
    /// Zones that should use the endpoint.
    #[serde(deserialize_with = "null_as_default")]
    pub for_zones: Vec<Hint>,
    /// Nodes that should use the endpoint.
    #[serde(deserialize_with = "null_as_default")]
    pub for_nodes: Vec<Hint>,
}

/// One zone or node of the hints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hint {
    /// Its name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: Arc<str>,
}

/// Reads a list of addresses, of which only the first is kept.
fn first_address<'de, D>(deserializer: D) -> Result<Option<Parsed<IpAddr>>, D::Error>
where
    D: Deserializer<'de>,
{
    let addresses: Option<Vec<Parsed<IpAddr>>> = Option::deserialize(deserializer)?;
    Ok(addresses.and_then(|list| list.into_iter().next()))
}

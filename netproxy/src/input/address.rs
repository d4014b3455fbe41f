//! Pure. Addresses and networks as Kubernetes objects spell them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

/// A value read from text, or the text that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// The value.
    Valid(T),
    /// The text as it came.
    Invalid(Arc<str>),
}

impl<T> Parsed<T> {
    /// The value, if the text was readable.
    pub fn valid(&self) -> Option<&T> {
        match self {
            Self::Valid(value) => Some(value),
            Self::Invalid(_) => None,
        }
    }

    /// The text, if it was not readable.
    pub fn invalid(&self) -> Option<&Arc<str>> {
        match self {
            Self::Valid(_) => None,
            Self::Invalid(text) => Some(text),
        }
    }
}

/// How a type is read from the text of a JSON string.
pub(super) trait FromText: Sized {
    /// The value, or nothing when the text does not spell one.
    fn from_text(text: &str) -> Option<Self>;
}

impl FromText for IpAddr {
    fn from_text(text: &str) -> Option<Self> {
        parse_ip(text)
    }
}

impl FromText for IpNet {
    fn from_text(text: &str) -> Option<Self> {
        parse_cidr(text)
    }
}

impl<'de, T: FromText> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(T::from_text(&text).map_or_else(|| Self::Invalid(Arc::from(&*text)), Self::Valid))
    }
}

/// The address that `text` spells, or nothing.
///
/// As lenient as the API server was in old releases: decimal parts of an IPv4 address may have
/// leading zeros. An IPv4 address inside an IPv6 one (`::ffff:1.2.3.4`) is returned as IPv4.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let address: Ipv6Addr = text.parse().ok()?;
        return Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4));
    }
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// The network that `text` spells, without the bits below its prefix length; blanks around it
/// are ignored. Nothing when the text does not spell a network.
pub fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, length) = text.trim().split_once('/')?;
    if !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(IpNet::new(parse_ip(address)?, length.parse().ok()?).ok()?.trunc())
}

/// Reads a value that may also be `null`, which counts as the default.
pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

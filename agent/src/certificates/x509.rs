//! Pure. What an X.509 certificate says of itself, as far as this node wants to know.
//!
//! The certificate is one this node was given for its own use: whoever relies on it checks all of
//! it, so that nothing is verified here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

#[cfg(test)]
mod tests;

/// `id-at-commonName` and `id-at-organizationName` (X.520).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// Validity, subject and names of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// First second of its validity.
    pub not_before: Timestamp,
    /// Last second of its validity.
    pub not_after: Timestamp,
    /// The last one when there are several; empty when there is none.
    pub common_name: String,
    pub organizations: BTreeSet<String>,
    pub dns_names: BTreeSet<String>,
    pub ips: BTreeSet<IpAddr>,
}

impl CertificateFacts {
    /// From a certificate's DER; `None` when the bytes are no certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let certificate = certificate.tbs_certificate();
        let validity = certificate.validity();
        let seconds = |time: &x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok()?;
            Timestamp::from_second(seconds).ok()
        };
        let attributes = |oid| certificate.subject().iter().filter_map(move |it| text(it, oid));
        let mut facts = Self {
            not_before: seconds(&validity.not_before)?,
            not_after: seconds(&validity.not_after)?,
            common_name: attributes(COMMON_NAME).last().unwrap_or_default(),
            organizations: attributes(ORGANIZATION).collect(),
            dns_names: BTreeSet::new(),
            ips: BTreeSet::new(),
        };
        if let Some((_, names)) = certificate.get_extension::<SubjectAltName>().ok()? {
            facts.dns_names = names.0.iter().filter_map(dns_name).collect();
            facts.ips = names.0.iter().filter_map(ip).collect();
        }
        Some(facts)
    }
}

fn text(attribute: &AttributeTypeAndValue, oid: ObjectIdentifier) -> Option<String> {
    if attribute.oid != oid {
        return None;
    }
    let text = DirectoryString::try_from(&attribute.value).ok()?;
    Some(text.value().into_owned())
}

fn dns_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        _ => None,
    }
}

fn ip(name: &GeneralName) -> Option<IpAddr> {
    let GeneralName::IpAddress(bytes) = name else { return None };
    let bytes = bytes.as_bytes();
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

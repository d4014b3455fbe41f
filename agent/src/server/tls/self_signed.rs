//! The serving certificate of a node to which nobody gave one.
//!
//! Source: kubelet v1.36, `client-go/util/cert`; unlike it the key is an elliptic one, there is no
//! authority of its own above, and the node's addresses are in it too.

use std::net::IpAddr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::adapters::kube::kubeconfig::Secret;

/// A certificate and its key in PEM.
pub struct SelfSigned {
    pub certificate: String,
    pub key: Secret,
}

/// A certificate for that host name and those addresses, valid for a year as the kubelet's, and
/// from the day before because clocks differ.
pub fn self_signed(host: &str, ips: &[IpAddr], now: Timestamp) -> Result<SelfSigned, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    let addresses = ips.iter().map(|ip| SanType::IpAddress(*ip));
    let known = params.subject_alt_names.clone();
    params.subject_alt_names.extend(addresses.filter(|address| !known.contains(address)));
    params.distinguished_name = DistinguishedName::new();
    let name = format!("{host}@{}", now.as_second());
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = now.to_zoned(TimeZone::UTC).date();
    let begin = today.saturating_sub(1.day());
    let end = today.saturating_add(1.year());
    let part = |number: i8| u8::try_from(number).unwrap_or(1);
    let midnight =
        |date: Date| rcgen::date_time_ymd(date.year().into(), part(date.month()), part(date.day()));
    params.not_before = midnight(begin);
    params.not_after = midnight(end);
    let certificate = params.self_signed(&key)?.pem();
    Ok(SelfSigned { certificate, key: Secret::new(key.serialize_pem()) })
}

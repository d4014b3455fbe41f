//! A private key of the node while it has no certificate.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::csr::Wanted;
use crate::adapters::kube::kubeconfig::Secret;

#[cfg(test)]
mod tests;

/// An ECDSA P-256 key, as the kubelet makes them (v1.36).
pub(super) struct NodeKey(Arc<KeyPair>);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

impl NodeKey {
    pub(super) fn generate() -> Result<Self, rcgen::Error> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(|pair| Self(Arc::new(pair)))
    }

    /// The key in a PEM text; `None` when there is none that could serve, such as a truncated one
    /// or one of another kind.
    pub(super) fn parse(pem: &Secret) -> Option<Self> {
        let pair = KeyPair::from_pem(pem.expose()).ok()?;
        pair.is_compatible(&PKCS_ECDSA_P256_SHA256).then(|| Self(Arc::new(pair)))
    }

    /// PKCS #8 in PEM.
    pub(super) fn pem(&self) -> Secret {
        Secret::new(self.0.serialize_pem())
    }

    /// The public half.
    pub(super) fn public_key(&self) -> &[u8] {
        self.0.public_key_raw()
    }

    /// A PKCS #10 request in PEM, signed with this key, for a certificate that names what is
    /// wanted.
    pub(super) fn sign_request(&self, wanted: &Wanted) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, wanted.group());
        params.distinguished_name.push(DnType::CommonName, wanted.user());
        for name in wanted.dns_names() {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(wanted.ips().iter().copied().map(SanType::IpAddress));
        params.serialize_request(&*self.0)?.pem()
    }

    /// Whether the first certificate of a PEM text is one for this key. A text without one is not.
    pub(super) fn belongs_to(&self, certificate_pem: &[u8]) -> bool {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate_pem).collect();
        let Ok(chain) = chain else { return false };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.0.serialize_der()));
        !chain.is_empty()
            && CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).is_ok()
    }
}

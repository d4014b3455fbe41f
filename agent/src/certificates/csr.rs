//! Pure. The request for a node's certificate, and what its state means.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::api::core::v1::NodeAddress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::x509::CertificateFacts;

#[cfg(test)]
mod tests;

/// The group that makes a user a node.
const GROUP: &str = "system:nodes";
/// Bytes of the digest that go into the name: enough that no two keys ever share one.
const NAME_BYTES: usize = 20;

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To the API server, to say which node this is.
    Client,
    /// To callers of the kubelet server.
    Serving,
}

impl Purpose {
    /// Name of the signer (`spec.signerName`).
    pub(super) fn signer(self) -> &'static str {
        match self {
            Self::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::Serving => "kubernetes.io/kubelet-serving",
        }
    }

    /// All that the signer grants for a key that cannot encipher (ECDSA).
    fn usages(self) -> [&'static str; 2] {
        match self {
            Self::Client => ["digital signature", "client auth"],
            Self::Serving => ["digital signature", "server auth"],
        }
    }

    /// What its files' names begin with, as the kubelet's do (v1.36), so that both can follow each
    /// other on one machine.
    pub fn file_prefix(self) -> &'static str {
        match self {
            Self::Client => "kubelet-client",
            Self::Serving => "kubelet-server",
        }
    }

    /// For the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Serving => "serving",
        }
    }
}

/// Whom a certificate is to name. The subject is always the node's user and group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    node_name: String,
    dns_names: BTreeSet<String>,
    ips: BTreeSet<IpAddr>,
}

impl Wanted {
    /// The node as a client of the API server.
    pub fn client(node_name: &str) -> Self {
        let (dns_names, ips) = Default::default();
        Self { node_name: node_name.to_owned(), dns_names, ips }
    }

    /// The node as a server under its addresses (`status.addresses`). `None` while none of them is
    /// an IP address: whoever signs checks them against the Node, and a name alone is asked for
    /// by no kubelet by default (v1.36, feature gate `AllowDNSOnlyNodeCSR`).
    pub fn serving(node_name: &str, addresses: &[NodeAddress]) -> Option<Self> {
        let mut wanted = Self::client(node_name);
        for NodeAddress { type_, address } in addresses {
            match (type_.as_str(), address.parse()) {
                ("Hostname" | "InternalIP" | "ExternalIP", Ok(ip)) => {
                    wanted.ips.insert(ip);
                }
                ("Hostname" | "InternalDNS" | "ExternalDNS", _) => {
                    wanted.dns_names.insert(address.clone());
                }
                _ => {}
            }
        }
        (!wanted.ips.is_empty()).then_some(wanted)
    }

    /// User name of the node, the common name of its certificates.
    pub(super) fn user(&self) -> String {
        format!("system:node:{}", self.node_name)
    }

    pub(super) fn group(&self) -> &'static str {
        GROUP
    }

    pub(super) fn dns_names(&self) -> &BTreeSet<String> {
        &self.dns_names
    }

    pub(super) fn ips(&self) -> &BTreeSet<IpAddr> {
        &self.ips
    }

    /// Whether a certificate names all that is wanted. It may name more.
    pub(super) fn is_named_by(&self, facts: &CertificateFacts) -> bool {
        self.user() == facts.common_name
            && facts.organizations.contains(GROUP)
            && self.dns_names.is_subset(&facts.dns_names)
            && self.ips.is_subset(&facts.ips)
    }
}

/// Name of the node's first request for that key (DER of its public half). The same input gives
/// the same name, so that an attempt after a restart finds the earlier one's request.
pub(super) fn first_request_name(wanted: &Wanted, public_key: &[u8]) -> String {
    format!("node-{}", request_name(Purpose::Client, wanted, public_key))
}

/// Name of a request for a certificate that replaces another.
pub(super) fn request_name(purpose: Purpose, wanted: &Wanted, public_key: &[u8]) -> String {
    let mut digest = Context::new(&SHA256);
    for part in [purpose.signer().as_bytes(), wanted.user().as_bytes(), public_key] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    format!("csr-{}", HEXLOWER.encode(&digest.finish().as_ref()[..NAME_BYTES]))
}

/// The object to create. `pkcs10` is the request itself in PEM.
pub(super) fn build_request(
    purpose: Purpose,
    name: String,
    pkcs10: String,
) -> CertificateSigningRequest {
    CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pkcs10.into_bytes()),
            signer_name: purpose.signer().to_owned(),
            usages: Some(purpose.usages().map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

/// How far a request has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody has decided.
    Pending,
    /// The signer has not written the certificate yet.
    Approved,
    /// The certificate chain in PEM.
    Issued(Vec<u8>),
    /// With the decider's words.
    Denied(String),
    /// With the signer's words.
    Failed(String),
}

/// What the state of a request means. A refusal outweighs everything, as the signer's rules say.
pub(super) fn judge(csr: &CertificateSigningRequest) -> Verdict {
    let status = csr.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    if let Some(condition) = find("Denied") {
        return Verdict::Denied(words(condition));
    }
    if let Some(condition) = find("Failed") {
        return Verdict::Failed(words(condition));
    }
    if find("Approved").is_none() {
        return Verdict::Pending;
    }
    match status.and_then(|status| status.certificate.as_ref()) {
        Some(certificate) if !certificate.0.is_empty() => Verdict::Issued(certificate.0.clone()),
        _ => Verdict::Approved,
    }
}

/// `reason: message`, as far as they are given.
fn words(condition: &CertificateSigningRequestCondition) -> String {
    let parts: Vec<&str> = [condition.reason.as_deref(), condition.message.as_deref()]
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    if parts.is_empty() { "no reason is given".to_owned() } else { parts.join(": ") }
}

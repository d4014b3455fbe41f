//! Pure. The request for a node's client certificate, and what its state means.

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

#[cfg(test)]
mod tests;

/// Signer of the certificates that nodes show to the API server.
pub(super) const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The group that makes a user a node.
pub(super) const GROUP: &str = "system:nodes";
/// All that the signer grants for a key that cannot encipher (ECDSA).
const USAGES: [&str; 2] = ["digital signature", "client auth"];
/// Bytes of the digest that go into the name: enough that no two keys ever share one.
const NAME_BYTES: usize = 20;

/// User name of a node, the common name of its certificate.
pub(super) fn user(node_name: &str) -> String {
    format!("system:node:{node_name}")
}

/// Name of the request of that node for that key (DER of its public half). The same input gives
/// the same name, so that an attempt after a restart finds the earlier one's request.
pub(super) fn request_name(node_name: &str, public_key: &[u8]) -> String {
    let mut digest = Context::new(&SHA256);
    for part in [SIGNER.as_bytes(), user(node_name).as_bytes(), public_key] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    format!("node-csr-{}", HEXLOWER.encode(&digest.finish().as_ref()[..NAME_BYTES]))
}

/// The object to create. `pkcs10` is the request itself in PEM.
pub(super) fn build_request(name: String, pkcs10: String) -> CertificateSigningRequest {
    CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pkcs10.into_bytes()),
            signer_name: SIGNER.to_owned(),
            usages: Some(USAGES.map(str::to_owned).to_vec()),
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

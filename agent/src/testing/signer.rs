//! Signs certificate signing requests in memory, as the controller manager would.

use data_encoding::BASE64;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use serde_json::{Value, json};
use x509_cert::der::Decode;
use x509_cert::request::CertReq;

/// A certificate authority.
pub struct Signer {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Words {
    pub node: String,
    pub names: Vec<String>,
    /// Validity, seconds from the epoch.
    pub from: i64,
    pub to: i64,
}

impl Words {
    /// A certificate of that node, valid from so many seconds before `now` to so many after.
    pub fn around(node: &str, now: Timestamp, (before, after): (i64, i64)) -> Self {
        let now = now.as_second();
        Self { node: node.to_owned(), names: Vec::new(), from: now - before, to: now + after }
    }

    /// The same with names or addresses of a server.
    pub fn with_names(mut self, names: &[&str]) -> Self {
        self.names = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(self.names.clone()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{}", self.node));
        let at = |seconds: i64| {
            date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.unsigned_abs())
        };
        (params.not_before, params.not_after) = (at(self.from), at(self.to));
        params
    }
}

/// The public half of somebody else's key.
struct ForeignKey(Vec<u8>);

impl PublicKeyData for ForeignKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl Default for Signer {
    fn default() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }
}

impl Signer {
    /// Certificate and key of a new key, both PEM.
    pub fn pair(&self, words: &Words) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = words.params().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Certificate in PEM for the key in a request.
    pub fn sign(&self, csr: &CertificateSigningRequest, words: &Words) -> String {
        let pem = String::from_utf8(csr.spec.request.0.clone()).unwrap();
        let body: String =
            pem.lines().filter(|line| !line.starts_with('-')).map(str::trim).collect();
        let request = CertReq::from_der(&BASE64.decode(body.as_bytes()).unwrap()).unwrap();
        let key = ForeignKey(request.info.public_key.subject_public_key.raw_bytes().to_vec());
        words.params().signed_by(&key, &self.issuer).unwrap().pem()
    }

    /// Status of a request that was approved and signed.
    pub fn issued(&self, csr: &CertificateSigningRequest, words: &Words) -> Value {
        let certificate = BASE64.encode(self.sign(csr, words).as_bytes());
        json!({
            "conditions": [{"type": "Approved", "status": "True"}],
            "certificate": certificate,
        })
    }
}

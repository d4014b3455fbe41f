//! Authorities and their certificates, and a client that shows them.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::server::tls::{ClientAuthority, certified_key};

/// A certificate and its key in PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    pub fn certified(&self) -> Arc<CertifiedKey> {
        certified_key(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// A certificate authority.
pub struct TestAuthority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl TestAuthority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub fn trusted(&self) -> Arc<ClientAuthority> {
        Arc::new(ClientAuthority::parse(self.certificate.as_bytes()).unwrap())
    }

    /// A client certificate of that user in those groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Pair {
        // A name has one value for each kind, and this is the same kind under another name.
        let again = DnType::CustomDnType(vec![2, 5, 4, 10]);
        assert!(groups.len() <= 2, "a test certificate has two groups at most");
        let kinds = [DnType::OrganizationName, again];
        let mut subject: Vec<_> = kinds.into_iter().zip(groups.iter().copied()).collect();
        subject.push((DnType::CommonName, user));
        self.client_of(&subject)
    }

    /// A client certificate with that subject.
    pub fn client_of(&self, subject: &[(DnType, &str)]) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A certificate for servers at that address.
    pub fn server(&self, address: IpAddr) -> Pair {
        let mut params = CertificateParams::new(vec![address.to_string()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// TLS of a client that trusts this authority and shows `identity`.
    pub fn client_config(&self, identity: Option<&Pair>) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.der()], key).unwrap()
            }
        }
    }

    /// An HTTP client over [`Self::client_config`].
    pub fn http_client(&self, identity: Option<&Pair>) -> reqwest::Client {
        let mut tls = self.client_config(identity);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
    }
}

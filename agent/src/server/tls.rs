//! TLS of the kubelet server: its certificate, which may change while it serves, and the client
//! certificates it asks for.
//!
//! A client certificate that nobody trusts does not end the handshake: whether it names a caller is
//! decided for each request, so that the answer is a 401 as the kubelet's, and so that a change of
//! the trusted authorities also counts for connections that are open. That the client holds the
//! certificate's key is proved in the handshake all the same.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use tokio::sync::watch;

use crate::config::TlsChoice;

pub mod self_signed;
#[cfg(test)]
mod tests;

/// The certificate that the server shows from its next handshake on. While there is none,
/// handshakes are refused.
pub type ServingCertificate = watch::Receiver<Option<Arc<CertifiedKey>>>;

/// The authorities whose client certificates are trusted from the next request on.
pub type ClientAuthorities = watch::Receiver<Arc<ClientAuthority>>;

/// Why PEM texts cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("no certificate in PEM is in it")]
    NoCertificate,
    #[error("no private key in PEM is in it")]
    NoKey,
    #[error("certificate and key are not usable together")]
    Pair(#[source] rustls::Error),
    #[error("the certificates are not usable as authorities")]
    Authorities(#[source] rustls::server::VerifierBuilderError),
    #[error("a certificate cannot be read")]
    Certificate(#[source] rustls::Error),
    #[error("TLS cannot be set up")]
    SetUp(#[source] rustls::Error),
}

/// The certificate chain and key of these PEM texts, which belong together.
pub fn certified_key(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::NoCertificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(TlsError::Pair)
}

/// Authorities that client certificates may come from.
#[derive(Debug)]
pub struct ClientAuthority(Arc<dyn ClientCertVerifier>);

impl ClientAuthority {
    /// The authorities of a PEM text; other texts between them are passed over.
    pub fn parse(pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| TlsError::NoCertificate)?;
            roots.add(certificate).map_err(TlsError::Certificate)?;
        }
        if roots.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map(Self)
            .map_err(TlsError::Authorities)
    }

    /// Whether this chain, the caller's own certificate first, is one for clients and of these
    /// authorities at that time. The error says why not.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), rustls::Error> {
        let (own, between) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.0.verify_client_cert(own, between, now).map(|_| ())
    }
}

/// Asks for a client certificate and leaves it to [`ClientAuthority::verify`] whom it names.
#[derive(Debug)]
struct AskForCertificate(Arc<ClientAuthority>);

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.0.supported_verify_schemes()
    }
}

/// Shows whatever certificate is the current one.
struct Current(ServingCertificate);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(..)")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}

/// What handshakes are made from; follows changes of the certificate and of the authorities.
pub struct ServerTls {
    choice: TlsChoice,
    certificate: ServingCertificate,
    authorities: Option<ClientAuthorities>,
    current: Arc<rustls::ServerConfig>,
}

impl ServerTls {
    /// Without authorities no client certificate is asked for.
    pub fn new(
        choice: TlsChoice,
        certificate: ServingCertificate,
        mut authorities: Option<ClientAuthorities>,
    ) -> Result<Self, TlsError> {
        let asked = authorities.as_mut().map(|known| Arc::clone(&known.borrow_and_update()));
        let current = set_up(&choice, &certificate, asked)?;
        Ok(Self { choice, certificate, authorities, current })
    }

    /// What the next handshake is made from.
    pub fn current(&mut self) -> Arc<rustls::ServerConfig> {
        if let Some(authorities) = &mut self.authorities
            && authorities.has_changed().unwrap_or(false)
        {
            let asked = Arc::clone(&authorities.borrow_and_update());
            match set_up(&self.choice, &self.certificate, Some(asked)) {
                Ok(current) => self.current = current,
                Err(error) => tracing::warn!(%error, "clients are told of the authorities before"),
            }
        }
        Arc::clone(&self.current)
    }
}

fn set_up(
    choice: &TlsChoice,
    certificate: &ServingCertificate,
    authorities: Option<Arc<ClientAuthority>>,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(choice.provider.clone()))
        .with_protocol_versions(choice.versions)
        .map_err(TlsError::SetUp)?;
    let builder = match authorities {
        Some(authorities) => {
            builder.with_client_cert_verifier(Arc::new(AskForCertificate(authorities)))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Current(certificate.clone())));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

//! Pure. The kubelet server's part of the configuration: where it listens, with which TLS, and whom
//! it asks who a caller is and what he may do.
//!
//! Source: KubeletConfiguration v1beta1 (v1.36) and its defaults. Without a file they hold too: the
//! older ones of the kubelet's flags would let everybody do everything.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{NamedGroup, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};
use serde::Deserialize;

use super::resolve::Reader;
use super::wire::KubeletConfiguration;

#[cfg(test)]
mod tests;

static TLS13_ONLY: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Cipher suites of Go's TLS 1.2 without an authenticated cipher or without forward secrecy (Go
/// 1.26 `crypto/tls`). Lists that are copied from one cluster to the next still name them.
const GO_ONLY: [&str; 14] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// `authentication` as the file spells it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WireAuthentication {
    pub x509: Option<WireX509>,
    pub webhook: Option<WireTokenWebhook>,
    pub anonymous: Option<WireAnonymous>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WireX509 {
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WireTokenWebhook {
    pub enabled: Option<bool>,
    #[serde(rename = "cacheTTL")]
    pub cache_ttl: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WireAnonymous {
    pub enabled: Option<bool>,
}

/// `authorization` as the file spells it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WireAuthorization {
    pub mode: Option<String>,
    pub webhook: Option<WireAccessWebhook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WireAccessWebhook {
    #[serde(rename = "cacheAuthorizedTTL")]
    pub cache_authorized_ttl: Option<String>,
    #[serde(rename = "cacheUnauthorizedTTL")]
    pub cache_unauthorized_ttl: Option<String>,
}

/// The kubelet server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// `enableServer`, true by default; false opens neither port.
    pub enabled: bool,
    /// `address` of both ports, `0.0.0.0` by default.
    pub address: IpAddr,
    /// `readOnlyPort`; `None`, the default, opens none.
    pub read_only_port: Option<u16>,
    /// `enableDebuggingHandlers`.
    pub handlers: Handlers,
    /// `tlsCertFile` and `tlsPrivateKeyFile`; `None` when the server has to find a certificate
    /// by itself.
    pub certificate: Option<CertificatePaths>,
    pub tls: TlsChoice,
    pub authentication: AuthenticationConfig,
    pub authorization: AuthorizationMode,
}

/// Which handlers answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handlers {
    All,
    /// Those for debugging answer that they are disabled.
    WithoutDebugging,
}

/// The files of a serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePaths {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What TLS is spoken.
#[derive(Clone)]
pub struct TlsChoice {
    /// Cipher suites and key exchanges that are offered, in order of preference.
    pub provider: CryptoProvider,
    /// 1.3 and, unless `tlsMinVersion` forbids it, 1.2.
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// Suites of `tlsCipherSuites` that Go has and this TLS has not, because they are weak.
    pub left_out: Vec<String>,
}

impl TlsChoice {
    fn names(&self) -> (Vec<String>, Vec<NamedGroup>, Vec<ProtocolVersion>) {
        let suites = &self.provider.cipher_suites;
        (
            suites.iter().map(|suite| format!("{:?}", suite.suite())).collect(),
            self.provider.kx_groups.iter().map(|group| group.name()).collect(),
            self.versions.iter().map(|version| version.version).collect(),
        )
    }
}

impl std::fmt::Debug for TlsChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.names())
    }
}

impl PartialEq for TlsChoice {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Default for TlsChoice {
    fn default() -> Self {
        let provider = aws_lc_rs::default_provider();
        Self { provider, versions: rustls::ALL_VERSIONS, left_out: Vec::new() }
    }
}

/// How the server learns who a caller is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticationConfig {
    /// `authentication.x509.clientCAFile`; without one no client certificate is asked for.
    pub client_ca_file: Option<PathBuf>,
    /// How long an answer about a token is believed (2 min by default); `None` takes no tokens.
    pub token_ttl: Option<Duration>,
    /// Whether callers without credentials are `system:anonymous`.
    pub anonymous: bool,
}

/// How the server learns what a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationMode {
    AlwaysAllow,
    /// By SubjectAccessReview. How long a yes (5 min by default) and a no (30 s) are believed.
    Webhook {
        authorized_ttl: Duration,
        unauthorized_ttl: Duration,
    },
}

/// The configuration of the server, whose secure port is `port`.
pub(super) fn resolve(reader: &mut Reader, wire: &KubeletConfiguration, port: u16) -> ServerConfig {
    let address = wire.address.as_deref().filter(|text| !text.is_empty());
    let address = address.and_then(|text| reader.address("address", text));
    let read_only = reader.number("readOnlyPort", wire.read_only_port, 0);
    if port == 0 && wire.enable_server != Some(false) {
        reader.problems.push("port: must be between 1 and 65535".to_owned());
    }
    if read_only != 0 && read_only == port {
        reader.problems.push(format!("readOnlyPort: {read_only} is the port of port as well"));
    }
    let handlers = match wire.enable_debugging_handlers {
        None | Some(true) => Handlers::All,
        Some(false) => Handlers::WithoutDebugging,
    };
    ServerConfig {
        enabled: wire.enable_server.unwrap_or(true),
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        read_only_port: Some(read_only).filter(|port| *port != 0),
        handlers,
        certificate: certificate(reader, wire),
        tls: tls(reader, wire),
        authentication: authentication(reader, wire),
        authorization: authorization(reader, wire),
    }
}

fn certificate(reader: &mut Reader, wire: &KubeletConfiguration) -> Option<CertificatePaths> {
    let path = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (path(&wire.tls_cert_file), path(&wire.tls_private_key_file)) {
        (Some(certificate), Some(key)) => {
            Some(CertificatePaths { certificate: certificate.into(), key: key.into() })
        }
        (None, None) => None,
        (Some(_), None) => {
            reader.problems.push("tlsPrivateKeyFile: is needed with tlsCertFile".to_owned());
            None
        }
        (None, Some(_)) => {
            reader.problems.push("tlsCertFile: is needed with tlsPrivateKeyFile".to_owned());
            None
        }
    }
}

fn tls(reader: &mut Reader, wire: &KubeletConfiguration) -> TlsChoice {
    let versions: &'static [&'static SupportedProtocolVersion] =
        match wire.tls_min_version.as_deref() {
            None | Some("" | "VersionTLS12") => rustls::ALL_VERSIONS,
            Some("VersionTLS13") => &TLS13_ONLY,
            Some("VersionTLS10" | "VersionTLS11") => {
                reader.problems.push(
                "tlsMinVersion: TLS 1.0 and 1.1 are not supported; use VersionTLS12 or VersionTLS13"
                    .to_owned(),
            );
                rustls::ALL_VERSIONS
            }
            Some(other) => {
                reader.problems.push(format!(
                    "tlsMinVersion: \"{other}\" is neither VersionTLS12 nor VersionTLS13"
                ));
                rustls::ALL_VERSIONS
            }
        };
    let mut provider = aws_lc_rs::default_provider();
    let names = wire.tls_cipher_suites.as_deref().unwrap_or_default();
    provider.cipher_suites = cipher_suites(reader, names);
    let left_out = names.iter().filter(|name| GO_ONLY.contains(&name.as_str())).cloned().collect();
    if let Some(ids) = wire.tls_curve_preferences.as_deref().filter(|ids| !ids.is_empty()) {
        provider.kx_groups = curves(reader, ids);
    }
    let has_tls12 = provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
    // No suite of TLS 1.2 is left, so it cannot be spoken.
    let versions = if has_tls12 { versions } else { &TLS13_ONLY };
    TlsChoice { provider, versions, left_out }
}

/// The suites of TLS 1.3 cannot be chosen, as in Go: all of them are always offered. Empty means
/// all of TLS 1.2 too.
fn cipher_suites(reader: &mut Reader, names: &[String]) -> Vec<SupportedCipherSuite> {
    let all = aws_lc_rs::ALL_CIPHER_SUITES;
    if names.is_empty() {
        return all.to_vec();
    }
    let mut chosen: Vec<_> = all.iter().copied().filter(|suite| suite.tls13().is_some()).collect();
    for name in names {
        match all.iter().find(|suite| is_named(suite, name)) {
            Some(suite) if chosen.contains(suite) => {}
            Some(suite) => chosen.push(*suite),
            None if GO_ONLY.contains(&name.as_str()) => {}
            None => reader.problems.push(format!(
                "tlsCipherSuites: \"{name}\" is not supported or does not exist; these are: {}",
                all.iter().map(suite_name).collect::<Vec<_>>().join(", ")
            )),
        }
    }
    chosen
}

/// By Go's name, which two suites have in a shorter form too.
fn is_named(suite: &SupportedCipherSuite, name: &str) -> bool {
    let full = suite_name(suite);
    let short = full.strip_suffix("_SHA256").filter(|short| short.ends_with("CHACHA20_POLY1305"));
    full == name || (short == Some(name) && suite.tls13().is_none())
}

/// Go calls the suites of TLS 1.3 after the standard, rustls with the version in the name.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

fn curves(reader: &mut Reader, ids: &[i64]) -> Vec<&'static dyn SupportedKxGroup> {
    let mut chosen: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    for id in ids {
        let known = u16::try_from(*id).ok().map(NamedGroup::from);
        let group = aws_lc_rs::ALL_KX_GROUPS.iter().find(|group| Some(group.name()) == known);
        match group {
            Some(group) if chosen.iter().any(|other| other.name() == group.name()) => {
                reader.problems.push(format!("tlsCurvePreferences: {id} is given twice"));
            }
            Some(group) => chosen.push(*group),
            None => reader.problems.push(format!(
                "tlsCurvePreferences: {id} is not supported; these are: 23 (P-256), 24 (P-384), 29 (X25519), 4588 (X25519MLKEM768)"
            )),
        }
    }
    chosen
}

fn authentication(reader: &mut Reader, wire: &KubeletConfiguration) -> AuthenticationConfig {
    let none = WireAuthentication::default();
    let wire = wire.authentication.as_ref().unwrap_or(&none);
    let ca = wire.x509.as_ref().and_then(|x509| x509.client_ca_file.clone());
    let webhook = wire.webhook.as_ref();
    let ttl = reader.duration(
        "authentication.webhook.cacheTTL",
        webhook.and_then(|webhook| webhook.cache_ttl.as_ref()),
        Duration::from_secs(120),
    );
    let tokens = webhook.and_then(|webhook| webhook.enabled).unwrap_or(true);
    AuthenticationConfig {
        client_ca_file: ca.filter(|file| !file.is_empty()).map(PathBuf::from),
        token_ttl: tokens.then_some(ttl),
        anonymous: wire.anonymous.as_ref().and_then(|anonymous| anonymous.enabled).unwrap_or(false),
    }
}

fn authorization(reader: &mut Reader, wire: &KubeletConfiguration) -> AuthorizationMode {
    let none = WireAuthorization::default();
    let wire = wire.authorization.as_ref().unwrap_or(&none);
    let ttls = wire.webhook.as_ref();
    let webhook = AuthorizationMode::Webhook {
        authorized_ttl: reader.duration(
            "authorization.webhook.cacheAuthorizedTTL",
            ttls.and_then(|webhook| webhook.cache_authorized_ttl.as_ref()),
            Duration::from_secs(300),
        ),
        unauthorized_ttl: reader.duration(
            "authorization.webhook.cacheUnauthorizedTTL",
            ttls.and_then(|webhook| webhook.cache_unauthorized_ttl.as_ref()),
            Duration::from_secs(30),
        ),
    };
    match wire.mode.as_deref() {
        Some("AlwaysAllow") => AuthorizationMode::AlwaysAllow,
        None | Some("" | "Webhook") => webhook,
        Some(other) => {
            reader.problems.push(format!(
                "authorization.mode: \"{other}\" is neither Webhook nor AlwaysAllow"
            ));
            webhook
        }
    }
}

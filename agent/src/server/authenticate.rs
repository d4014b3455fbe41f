//! Who a caller is: by its client certificate, else by its bearer token, else nobody.
//!
//! Source: Kubernetes v1.36 `apiserver/pkg/authentication`, as the kubelet puts it together.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::name::Name;

use super::reviews::TokenReviews;
use super::route::Caller;
use super::tls::ClientAuthorities;
use crate::boundary::BearerToken;
use crate::podworker::WallClock;

#[cfg(test)]
mod tests;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
/// Kubernetes' own attribute for the UID of a user.
const USER_UID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57683.2");
/// Extra attribute that names the credential.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// What a subprotocol that carries a token begins with.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Group of everybody who showed a credential.
const AUTHENTICATED: &str = "system:authenticated";
/// Group of those who did not.
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// What a connection knows of its other end: the client certificate and what is between it and an
/// authority, as they were shown. Empty when none was.
pub type PeerCertificates = Arc<[CertificateDer<'static>]>;

/// Why a caller is nobody. The texts go to the log only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    #[error("no credential")]
    NoCredential,
    #[error("{0}")]
    Refused(String),
}

fn refused(why: impl Into<String>) -> Unauthenticated {
    Unauthenticated::Refused(why.into())
}

/// Finds out who callers are.
pub struct Authenticator {
    /// `None` takes no client certificate.
    pub authorities: Option<ClientAuthorities>,
    /// `None` takes no token.
    pub tokens: Option<TokenReviews>,
    /// Whether those without any credential are `system:anonymous`.
    pub anonymous: bool,
    pub clock: WallClock,
}

impl Authenticator {
    /// The caller. A credential that is refused does not keep the next kind from being tried, and
    /// is never taken for anonymous. What carried a token is taken out of `headers`.
    pub async fn authenticate(
        &self,
        peer: &PeerCertificates,
        headers: &mut HeaderMap,
    ) -> Result<Caller, Unauthenticated> {
        let mut why = None;
        let mut take = |found: Option<Result<Caller, Unauthenticated>>| match found {
            Some(Ok(caller)) => Some(with_group(caller)),
            Some(Err(error)) => {
                why.get_or_insert(error);
                None
            }
            None => None,
        };
        if let Some(caller) = take(self.by_certificate(peer)) {
            return Ok(caller);
        }
        if let Some(tokens) = &self.tokens {
            if let Some(caller) = take(by_header(tokens, headers).await) {
                return Ok(caller);
            }
            if let Some(caller) = take(by_protocol(tokens, headers).await) {
                return Ok(caller);
            }
        }
        match why {
            Some(why) => Err(why),
            None if self.anonymous => Ok(anonymous()),
            None => Err(Unauthenticated::NoCredential),
        }
    }

    fn by_certificate(&self, peer: &PeerCertificates) -> Option<Result<Caller, Unauthenticated>> {
        let own = peer.first()?;
        let authority = Arc::clone(&self.authorities.as_ref()?.borrow());
        let since_epoch = (self.clock)().as_duration().unsigned_abs();
        if let Err(error) = authority.verify(peer, UnixTime::since_unix_epoch(since_epoch)) {
            return Some(Err(refused(format!("client certificate: {error}"))));
        }
        caller_of(own).transpose()
    }
}

/// The caller that a certificate names; `None` when it names nobody.
fn caller_of(certificate: &CertificateDer<'_>) -> Result<Option<Caller>, Unauthenticated> {
    let unreadable = |error| refused(format!("client certificate: {error}"));
    let parsed = Certificate::from_der(certificate).map_err(unreadable)?;
    let subject = parsed.tbs_certificate().subject();
    let Some(user) = texts(subject, COMMON_NAME).pop().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let mut uids = texts(subject, USER_UID);
    if uids.len() > 1 {
        return Err(refused("client certificate: it names several UIDs"));
    }
    let digest = digest(&SHA256, certificate);
    let credential = format!("X509SHA256={}", HEXLOWER.encode(digest.as_ref()));
    Ok(Some(Caller {
        user,
        uid: uids.pop().unwrap_or_default(),
        groups: texts(subject, ORGANIZATION),
        extra: vec![(CREDENTIAL_ID.to_owned(), vec![credential])],
    }))
}

/// The values of one attribute in their order; those that are no text are passed over.
fn texts(subject: &Name, attribute: ObjectIdentifier) -> Vec<String> {
    let values = subject.iter().filter(|found| found.oid == attribute).map(|found| &found.value);
    let text = |value: &x509_cert::der::Any| {
        let utf8 = value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
        utf8.or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.to_string()))
            .or_else(|_| value.decode_as::<Ia5StringRef<'_>>().map(|text| text.to_string()))
            .ok()
    };
    values.filter_map(text).collect()
}

/// By `Authorization: Bearer`; `None` when there is no such header.
async fn by_header(
    tokens: &TokenReviews,
    headers: &mut HeaderMap,
) -> Option<Result<Caller, Unauthenticated>> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let mut parts = header.splitn(3, ' ');
    let scheme = parts.next()?;
    let token = parts.next().filter(|token| !token.is_empty())?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let found = review(tokens, &BearerToken::new(token)).await;
    if found.is_ok() {
        headers.remove(AUTHORIZATION);
    }
    Some(found)
}

/// By a subprotocol of a WebSocket request, which is all that a browser lets a page set; `None`
/// when there is none that carries a token.
async fn by_protocol(
    tokens: &TokenReviews,
    headers: &mut HeaderMap,
) -> Option<Result<Caller, Unauthenticated>> {
    let upgrade = headers.get(UPGRADE)?.to_str().ok()?;
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let protocols = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let (carriers, others): (Vec<&str>, Vec<&str>) =
        protocols.map(str::trim).partition(|protocol| protocol.starts_with(TOKEN_PROTOCOL));
    let token = match carriers[..] {
        [] => return None,
        [one] => &one[TOKEN_PROTOCOL.len()..],
        _ => return Some(Err(refused("several subprotocols carry a token"))),
    };
    let token =
        BASE64URL_NOPAD.decode(token.as_bytes()).ok().and_then(|t| String::from_utf8(t).ok());
    let Some(token) = token else {
        return Some(Err(refused("the token of the subprotocol is not encoded right")));
    };
    if token.is_empty() {
        return None;
    }
    if others.is_empty() {
        return Some(Err(refused("there is no subprotocol beside the one with the token")));
    }
    let rest = HeaderValue::try_from(others.join(","));
    let found = review(tokens, &BearerToken::new(token)).await;
    if let (Ok(_), Ok(rest)) = (&found, rest) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, rest);
    }
    Some(found)
}

async fn review(tokens: &TokenReviews, token: &BearerToken) -> Result<Caller, Unauthenticated> {
    match tokens.review(token).await {
        Ok(Some(caller)) => Ok(caller),
        Ok(None) => Err(refused("invalid bearer token")),
        Err(error) => Err(refused(error.to_string())),
    }
}

fn with_group(mut caller: Caller) -> Caller {
    let told = |group: &String| group == AUTHENTICATED || group == UNAUTHENTICATED;
    if !caller.groups.iter().any(told) {
        caller.groups.push(AUTHENTICATED.to_owned());
    }
    caller
}

fn anonymous() -> Caller {
    Caller {
        user: "system:anonymous".to_owned(),
        groups: vec![UNAUTHENTICATED.to_owned()],
        ..Caller::default()
    }
}

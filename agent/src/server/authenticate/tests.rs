use std::time::Duration;

use rcgen::DnType;
use tokio::sync::watch;

use super::*;
use crate::testing::certificates::TestAuthority;
use crate::testing::fake_authn::FakeAuthn;

struct World {
    authority: TestAuthority,
    api: Arc<FakeAuthn>,
    authenticator: Authenticator,
}

fn world() -> World {
    let authority = TestAuthority::new("authority");
    let api = Arc::new(FakeAuthn::default());
    let authenticator = Authenticator {
        authorities: Some(watch::channel(authority.trusted()).1),
        tokens: Some(TokenReviews::new(api.clone(), Duration::from_secs(120))),
        anonymous: false,
        clock: Arc::new(|| "2026-08-01T00:00:00Z".parse().unwrap()),
    };
    World { authority, api, authenticator }
}

fn nobody() -> PeerCertificates {
    PeerCertificates::from([])
}

fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(token).unwrap())])
}

fn protocols(text: &str) -> HeaderMap {
    HeaderMap::from_iter([
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_PROTOCOL, HeaderValue::try_from(text).unwrap()),
    ])
}

#[tokio::test]
async fn a_certificate_names_user_groups_uid_and_itself() {
    let world = world();
    let uid = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]);
    let pair = world.authority.client_of(&[
        (DnType::OrganizationName, "admins"),
        (uid, "1234"),
        (DnType::CommonName, "jane"),
    ]);
    let peer = PeerCertificates::from([pair.der()]);
    let caller = world.authenticator.authenticate(&peer, &mut HeaderMap::new()).await.unwrap();
    assert_eq!((caller.user.as_str(), caller.uid.as_str()), ("jane", "1234"));
    assert_eq!(caller.groups, ["admins", "system:authenticated"]);
    let (name, values) = &caller.extra[0];
    assert_eq!(name, "authentication.kubernetes.io/credential-id");
    assert!(values[0].starts_with("X509SHA256=") && values[0].len() == 11 + 64, "{values:?}");
}

#[tokio::test]
async fn a_certificate_without_a_name_or_an_authority_is_no_credential() {
    let mut world = world();
    let nameless = world.authority.client_of(&[(DnType::OrganizationName, "system:masters")]);
    let nameless = PeerCertificates::from([nameless.der()]);
    let found = world.authenticator.authenticate(&nameless, &mut HeaderMap::new()).await;
    assert_eq!(found, Err(Unauthenticated::NoCredential));
    world.authenticator.authorities = None;
    let peer = PeerCertificates::from([world.authority.client("jane", &[]).der()]);
    let found = world.authenticator.authenticate(&peer, &mut HeaderMap::new()).await;
    assert_eq!(found, Err(Unauthenticated::NoCredential));
}

#[tokio::test]
async fn a_token_names_the_caller_and_is_then_taken_out_of_the_request() {
    let world = world();
    world.api.token("secret", "bot", &["bots"]);
    for scheme in ["Bearer secret", "bearer secret", " BEARER secret more"] {
        let mut headers = bearer(scheme);
        let caller = world.authenticator.authenticate(&nobody(), &mut headers).await.unwrap();
        assert_eq!((&*caller.user, &*caller.groups[0]), ("bot", "bots"));
        assert!(!headers.contains_key(AUTHORIZATION));
    }
    assert_eq!(world.api.calls(), ["token"], "the answer is kept");
}

#[tokio::test]
async fn what_is_no_bearer_token_is_no_credential() {
    let world = world();
    for header in ["Basic c2VjcmV0", "Bearer", "Bearer  secret", "", "secret"] {
        let found = world.authenticator.authenticate(&nobody(), &mut bearer(header)).await;
        assert_eq!(found, Err(Unauthenticated::NoCredential), "{header}");
    }
    assert!(world.api.calls().is_empty());
}

#[tokio::test]
async fn a_certificate_comes_before_a_token_and_a_token_helps_where_the_certificate_does_not() {
    let world = world();
    world.api.token("secret", "bot", &[]);
    let ours = PeerCertificates::from([world.authority.client("jane", &[]).der()]);
    let other = TestAuthority::new("other").client("jane", &[]);
    let other = PeerCertificates::from([other.der()]);
    for (peer, wanted) in [(&ours, "jane"), (&other, "bot")] {
        let mut headers = bearer("Bearer secret");
        let caller = world.authenticator.authenticate(peer, &mut headers).await.unwrap();
        assert_eq!(caller.user, wanted);
    }
}

#[tokio::test]
async fn a_subprotocol_carries_a_token_and_is_then_left_out() {
    let world = world();
    world.api.token("secret", "bot", &[]);
    let carrier = format!("{TOKEN_PROTOCOL}{}", BASE64URL_NOPAD.encode(b"secret"));
    let mut headers = protocols(&format!("v5.channel.k8s.io, {carrier} ,v4.channel.k8s.io"));
    let caller = world.authenticator.authenticate(&nobody(), &mut headers).await.unwrap();
    assert_eq!(caller.user, "bot");
    assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io,v4.channel.k8s.io");
    for (text, why) in [
        (format!("{carrier},{carrier},x"), "several subprotocols carry a token"),
        (carrier.clone(), "there is no subprotocol beside the one with the token"),
        (format!("{TOKEN_PROTOCOL}=,x"), "the token of the subprotocol is not encoded right"),
    ] {
        let found = world.authenticator.authenticate(&nobody(), &mut protocols(&text)).await;
        assert_eq!(found, Err(refused(why)), "{text}");
    }
    // Only a WebSocket has subprotocols.
    let mut headers = protocols(&format!("{carrier},x"));
    headers.remove(UPGRADE);
    let found = world.authenticator.authenticate(&nobody(), &mut headers).await;
    assert_eq!(found, Err(Unauthenticated::NoCredential));
}

#[tokio::test]
async fn only_who_shows_nothing_is_anonymous() {
    let mut world = world();
    world.authenticator.anonymous = true;
    let caller = world.authenticator.authenticate(&nobody(), &mut HeaderMap::new()).await.unwrap();
    assert_eq!(caller.user, "system:anonymous");
    assert_eq!(caller.groups, ["system:unauthenticated"]);
    let found = world.authenticator.authenticate(&nobody(), &mut bearer("Bearer wrong")).await;
    assert_eq!(found, Err(refused("invalid bearer token")));
    let other = TestAuthority::new("other").client("jane", &[]);
    let other = PeerCertificates::from([other.der()]);
    let found = world.authenticator.authenticate(&other, &mut HeaderMap::new()).await;
    assert!(matches!(found, Err(Unauthenticated::Refused(_))), "{found:?}");
}

use serde_json::json;

use super::self_signed::self_signed;
use super::*;
use crate::config::resolve::{Surroundings, resolve};
use crate::testing::certificates::TestAuthority;

fn at(text: &str) -> UnixTime {
    let since_epoch = text.parse::<jiff::Timestamp>().unwrap().as_duration();
    UnixTime::since_unix_epoch(since_epoch.unsigned_abs())
}

#[test]
fn certificate_and_key_must_belong_together() {
    let authority = TestAuthority::new("authority");
    let [a, b] = [authority.client("a", &[]), authority.client("b", &[])];
    certified_key(a.certificate.as_bytes(), a.key.as_bytes()).unwrap();
    let error = certified_key(a.certificate.as_bytes(), b.key.as_bytes()).unwrap_err();
    assert!(matches!(error, TlsError::Pair(_)), "{error}");
    let error = certified_key(b"", a.key.as_bytes()).unwrap_err();
    assert!(matches!(error, TlsError::NoCertificate), "{error}");
    let error = certified_key(a.certificate.as_bytes(), b"").unwrap_err();
    assert!(matches!(error, TlsError::NoKey), "{error}");
}

#[test]
fn authorities_vouch_for_their_client_certificates_only() {
    let [ours, other] = ["ours", "other"].map(TestAuthority::new);
    let bundle = format!("# comment\n{}{}", TestAuthority::new("a").certificate, ours.certificate);
    let trusted = ClientAuthority::parse(bundle.as_bytes()).unwrap();
    let now = at("2026-08-01T00:00:00Z");
    trusted.verify(&[ours.client("jane", &[]).der()], now).unwrap();
    trusted.verify(&[other.client("jane", &[]).der()], now).unwrap_err();
    trusted.verify(&[ours.server([127, 0, 0, 1].into()).der()], now).unwrap_err();
    // The test certificates end in 4096.
    trusted.verify(&[ours.client("jane", &[]).der()], at("5000-01-01T00:00:00Z")).unwrap_err();
    trusted.verify(&[], now).unwrap_err();
}

#[test]
fn a_text_without_certificates_is_no_authority() {
    for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(ClientAuthority::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_self_signed_certificate_names_the_node_and_lasts_a_year() {
    let ips = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    let now = "2026-08-01T12:00:00Z".parse().unwrap();
    let pair = self_signed("node-1", &ips, now).unwrap();
    let key = certified_key(pair.certificate.as_bytes(), pair.key.expose().as_bytes()).unwrap();
    let own = key.end_entity_cert().unwrap();
    let end = crate::certificates::CertificateFacts::read(own).unwrap().not_after;
    assert_eq!(end, "2027-08-01T00:00:00Z".parse().unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(own.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
    use rustls::client::danger::ServerCertVerifier;
    for name in ["node-1", "10.0.0.1", "fd00::1"] {
        let name = name.try_into().unwrap();
        let checked = verifier.verify_server_cert(own, &[], &name, &[], at("2026-08-01T12:00:00Z"));
        assert!(checked.is_ok(), "{name:?}: {checked:?}");
    }
}

/// What a client of those versions and a server of that configuration agree on.
async fn agreed(
    server: serde_json::Value,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<(rustls::ProtocolVersion, rustls::CipherSuite, Option<Vec<u8>>)> {
    let around = Surroundings { hostname: "node-1".to_owned(), ..Surroundings::default() };
    let config = resolve(serde_json::from_value(server).unwrap(), around).unwrap();
    let authority = TestAuthority::new("authority");
    let serving = authority.server([127, 0, 0, 1].into()).certified();
    let serving = watch::channel(Some(serving)).1;
    let mut tls = ServerTls::new(config.server.tls, serving, None).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let (near, far) = tokio::io::duplex(1 << 16);
    let host = std::net::IpAddr::from([127, 0, 0, 1]).into();
    let (_, connected) = tokio::join!(
        tokio_rustls::TlsAcceptor::from(tls.current()).accept(far),
        tokio_rustls::TlsConnector::from(Arc::new(client)).connect(host, near),
    );
    let connected = connected?;
    let session = connected.get_ref().1;
    let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
    let suite = session.negotiated_cipher_suite().unwrap().suite();
    Ok((session.protocol_version().unwrap(), suite, protocol))
}

#[tokio::test]
async fn the_configured_versions_and_suites_are_spoken_and_no_others() {
    use rustls::version::{TLS12, TLS13};
    use rustls::{CipherSuite, ProtocolVersion};
    let h2 = Some(b"h2".to_vec());
    let any = json!({});
    let (version, _, protocol) = agreed(any.clone(), &[&TLS12, &TLS13]).await.unwrap();
    assert_eq!((version, &protocol), (ProtocolVersion::TLSv1_3, &h2));
    let (version, _, protocol) = agreed(any, &[&TLS12]).await.unwrap();
    assert_eq!((version, &protocol), (ProtocolVersion::TLSv1_2, &h2));
    let new = json!({"tlsMinVersion": "VersionTLS13"});
    agreed(new.clone(), &[&TLS12]).await.unwrap_err();
    agreed(new, &[&TLS13]).await.unwrap();
    // The test's key is an elliptic one.
    let one = json!({"tlsCipherSuites": ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"]});
    let (_, suite, _) = agreed(one, &[&TLS12]).await.unwrap();
    assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    let none = json!({"tlsCipherSuites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]});
    agreed(none, &[&TLS12]).await.unwrap_err();
}

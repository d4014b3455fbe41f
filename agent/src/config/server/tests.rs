use serde_json::{Value, json};

use super::*;
use crate::config::AgentConfig;
use crate::config::resolve::{Surroundings, resolve as resolve_all};

fn whole(object: Value) -> Result<AgentConfig, Vec<String>> {
    let around = Surroundings { hostname: "node-1".to_owned(), ..Surroundings::default() };
    resolve_all(serde_json::from_value(object).unwrap(), around)
}

fn of_file(object: Value) -> ServerConfig {
    whole(object).unwrap().server
}

fn problems(object: Value) -> Vec<String> {
    whole(object).unwrap_err()
}

#[test]
fn defaults_are_those_of_kubelet_configuration() {
    let server = of_file(json!({}));
    let seconds = Duration::from_secs;
    let wanted = ServerConfig {
        enabled: true,
        address: "0.0.0.0".parse().unwrap(),
        read_only_port: None,
        handlers: Handlers::All,
        certificate: None,
        tls: TlsChoice::default(),
        authentication: AuthenticationConfig {
            client_ca_file: None,
            token_ttl: Some(seconds(120)),
            anonymous: false,
        },
        authorization: AuthorizationMode::Webhook {
            authorized_ttl: seconds(300),
            unauthorized_ttl: seconds(30),
        },
    };
    assert_eq!(server, wanted);
}

#[test]
fn what_the_file_says_counts() {
    let server = of_file(json!({
        "enableServer": false,
        "address": "::1",
        "readOnlyPort": 10255,
        "enableDebuggingHandlers": false,
        "tlsCertFile": "/a.crt",
        "tlsPrivateKeyFile": "/a.key",
        "authentication": {
            "x509": {"clientCAFile": "/ca.crt"},
            "webhook": {"enabled": true, "cacheTTL": "1s"},
            "anonymous": {"enabled": true},
        },
        "authorization": {
            "mode": "Webhook",
            "webhook": {"cacheAuthorizedTTL": "2s", "cacheUnauthorizedTTL": "3s"},
        },
    }));
    assert!(!server.enabled);
    assert_eq!(server.address, "::1".parse::<IpAddr>().unwrap());
    assert_eq!(server.read_only_port, Some(10255));
    assert_eq!(server.handlers, Handlers::WithoutDebugging);
    let paths = CertificatePaths { certificate: "/a.crt".into(), key: "/a.key".into() };
    assert_eq!(server.certificate, Some(paths));
    let seconds = Duration::from_secs;
    let authentication = AuthenticationConfig {
        client_ca_file: Some("/ca.crt".into()),
        token_ttl: Some(seconds(1)),
        anonymous: true,
    };
    assert_eq!(server.authentication, authentication);
    let ttls = (seconds(2), seconds(3));
    let (authorized_ttl, unauthorized_ttl) = ttls;
    assert_eq!(
        server.authorization,
        AuthorizationMode::Webhook { authorized_ttl, unauthorized_ttl }
    );
}

#[test]
fn bad_values_are_problems_that_name_their_field() {
    for (object, field) in [
        (json!({"address": "localhost"}), "address: "),
        (json!({"port": 0}), "port: "),
        (json!({"readOnlyPort": 70000}), "readOnlyPort: "),
        (json!({"readOnlyPort": 10250}), "readOnlyPort: "),
        (json!({"tlsCertFile": "/a"}), "tlsPrivateKeyFile: "),
        (json!({"tlsPrivateKeyFile": "/a"}), "tlsCertFile: "),
        (json!({"tlsMinVersion": "TLS12"}), "tlsMinVersion: \"TLS12\" "),
        (json!({"tlsMinVersion": "VersionTLS11"}), "tlsMinVersion: TLS 1.0"),
        (json!({"tlsCipherSuites": ["TLS_NULL"]}), "tlsCipherSuites: \"TLS_NULL\" "),
        (json!({"tlsCurvePreferences": [1]}), "tlsCurvePreferences: 1 "),
        (json!({"tlsCurvePreferences": [29, 29]}), "tlsCurvePreferences: 29 "),
        (json!({"authorization": {"mode": "RBAC"}}), "authorization.mode: \"RBAC\" "),
        (
            json!({"authentication": {"webhook": {"cacheTTL": "soon"}}}),
            "authentication.webhook.cacheTTL: ",
        ),
        (
            json!({"authorization": {"webhook": {"cacheUnauthorizedTTL": "1"}}}),
            "authorization.webhook.cacheUnauthorizedTTL: ",
        ),
    ] {
        let problems = problems(object);
        assert!(problems.len() == 1 && problems[0].starts_with(field), "{field}: {problems:?}");
    }
}

fn suites(names: &[&str]) -> (Vec<String>, Vec<ProtocolVersion>, Vec<String>) {
    let tls = of_file(json!({"tlsCipherSuites": names})).tls;
    let (suites, _, versions) = tls.names();
    (suites, versions, tls.left_out)
}

#[test]
fn chosen_suites_of_tls_1_2_are_offered_beside_all_of_1_3() {
    let (offered, versions, left_out) = suites(&[
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        "TLS_AES_128_GCM_SHA256",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
    ]);
    let wanted = [
        "TLS13_AES_256_GCM_SHA384",
        "TLS13_AES_128_GCM_SHA256",
        "TLS13_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ];
    assert_eq!(offered, wanted);
    assert_eq!(versions.len(), 2);
    assert_eq!(left_out, ["TLS_RSA_WITH_AES_128_GCM_SHA256"]);
}

#[test]
fn without_a_usable_suite_of_tls_1_2_only_1_3_is_spoken() {
    let (_, versions, _) = suites(&["TLS_RSA_WITH_AES_128_CBC_SHA"]);
    assert_eq!(versions, [ProtocolVersion::TLSv1_3]);
    let (_, _, versions) = of_file(json!({"tlsMinVersion": "VersionTLS13"})).tls.names();
    assert_eq!(versions, [ProtocolVersion::TLSv1_3]);
}

#[test]
fn curves_are_offered_in_the_order_given() {
    let (_, curves, _) = of_file(json!({"tlsCurvePreferences": [24, 4588, 29]})).tls.names();
    let wanted = [NamedGroup::secp384r1, NamedGroup::X25519MLKEM768, NamedGroup::X25519];
    assert_eq!(curves, wanted);
}

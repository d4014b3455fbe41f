use super::*;
use crate::boundary::{EnvService, EnvServicePort};
use crate::objects::SecretObject;
use crate::podexec::fixtures::{container, node_facts, pod};
use serde_json::{Value, json};
use std::sync::Arc;

fn service(name: &str, ip: &str, ports: &[(&str, &str, u16)]) -> EnvService {
    let port = |&(name, protocol, port): &(&str, &str, u16)| EnvServicePort {
        name: name.to_owned(),
        protocol: protocol.to_owned(),
        port,
    };
    EnvService {
        name: name.to_owned(),
        cluster_ip: ip.to_owned(),
        ports: ports.iter().map(port).collect(),
    }
}

fn objects() -> ObjectSet {
    let map = json!({"data": {"k": "v", "A": "from-map"}});
    let secret = json!({"data": {"bytes": "/wA=", "A": "c2VjcmV0"}});
    ObjectSet {
        config_maps: BTreeMap::from([
            ("cm".to_owned(), Some(Arc::new(serde_json::from_value(map).unwrap()))),
            ("gone".to_owned(), None),
        ]),
        secrets: BTreeMap::from([
            ("s".to_owned(), Some(SecretObject::new(serde_json::from_value(secret).unwrap()))),
            ("gone".to_owned(), None),
        ]),
    }
}

fn env_of(
    pod_overlay: Value,
    parts: Value,
    services: Option<&EnvServices>,
) -> Result<BTreeMap<String, String>, ContainerConfigError> {
    let pod = pod(pod_overlay);
    let mut json = json!({"name": "main", "image": "img"});
    for (key, value) in parts.as_object().unwrap() {
        json[key] = value.clone();
    }
    let node = node_facts();
    let facts = FieldFacts::of(&pod, &node.host_ips, node.allocatable);
    let objects = objects();
    let ips = ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
    let sources =
        EnvSources { services, objects: &objects, files: &EnvFiles::default(), pod_ips: &ips };
    let variables = container_env(&pod, &container(json), sources, &facts)?;
    let text = |(name, value): (String, Vec<u8>)| (name, value.escape_ascii().to_string());
    Ok(variables.into_iter().map(text).collect())
}

fn simple(parts: Value) -> Result<BTreeMap<String, String>, ContainerConfigError> {
    env_of(json!({}), parts, Some(&EnvServices::default()))
}

#[test]
fn references_expand_as_documented() {
    let known = |name: &str| (name == "A").then(|| b"1".to_vec());
    for (text, expected) in [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$", "$"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$($(A))", "$($(A))"),
        ("a$$b", "a$b"),
        ("é$(A)é", "é1é"),
        ("", ""),
    ] {
        let got = expand(text, known);
        assert_eq!(String::from_utf8(got).unwrap(), expected, "{text}");
    }
}

#[test]
fn later_sources_win_and_see_earlier_ones() {
    let env = simple(json!({
        "envFrom": [
            {"configMapRef": {"name": "cm"}},
            {"prefix": "P_", "configMapRef": {"name": "cm"}},
            {"secretRef": {"name": "s"}},
            {"configMapRef": {"name": "gone", "optional": true}},
            {"secretRef": {"name": "never-heard-of", "optional": true}},
        ],
        "env": [
            {"name": "B", "value": "$(A)-$(C)"},
            {"name": "C", "value": "late"},
            {"name": "k", "value": "own"},
            {"name": "EMPTY"},
        ],
    }))
    .unwrap();
    let expected = [
        ("A", "secret"),
        ("B", "secret-$(C)"),
        ("C", "late"),
        ("EMPTY", ""),
        ("P_A", "from-map"),
        ("P_k", "v"),
        ("bytes", "\\xff\\x00"),
        ("k", "own"),
    ];
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(env, expected);
}

#[test]
fn keys_are_resolved_or_reported() {
    let from = |source: Value| json!({"env": [{"name": "X", "valueFrom": source}]});
    for (source, expected) in [
        (json!({"configMapKeyRef": {"name": "cm", "key": "k"}}), Ok(Some("v"))),
        (json!({"secretKeyRef": {"name": "s", "key": "bytes"}}), Ok(Some("\\xff\\x00"))),
        (json!({"configMapKeyRef": {"name": "cm", "key": "no", "optional": true}}), Ok(None)),
        (json!({"secretKeyRef": {"name": "gone", "key": "no", "optional": true}}), Ok(None)),
        (
            json!({"configMapKeyRef": {"name": "cm", "key": "no"}}),
            Err("couldn't find key no in ConfigMap ns/cm"),
        ),
        (
            json!({"secretKeyRef": {"name": "s", "key": "no"}}),
            Err("couldn't find key no in Secret ns/s"),
        ),
        (
            json!({"configMapKeyRef": {"name": "gone", "key": "k"}}),
            Err("configmap \"gone\" not found"),
        ),
        (json!({"secretKeyRef": {"name": "gone", "key": "k"}}), Err("secret \"gone\" not found")),
    ] {
        let got = simple(from(source.clone())).map(|env| env.get("X").cloned());
        let got = got.map_err(|error| error.to_string());
        let expected = expected.map(|v| v.map(str::to_owned)).map_err(str::to_owned);
        assert_eq!(got, expected, "{source}");
    }
}

#[test]
fn services_of_the_namespace_become_variables() {
    let services = EnvServices {
        own: vec![
            service("my-db", "10.1.0.1", &[("", "TCP", 5432)]),
            service("headless", "None", &[("", "TCP", 1)]),
            service("two", "fd00::9", &[("web-ui", "TCP", 80), ("dns", "UDP", 53)]),
        ],
        default: vec![
            service("kubernetes", "10.0.0.1", &[("https", "TCP", 443)]),
            service("other", "10.0.0.2", &[("", "TCP", 1)]),
        ],
    };
    let env = env_of(
        json!({}),
        json!({"env": [{"name": "U", "value": "$(MY_DB_SERVICE_HOST)"}]}),
        Some(&services),
    )
    .unwrap();
    for (name, value) in [
        ("U", "10.1.0.1"),
        ("MY_DB_SERVICE_HOST", "10.1.0.1"),
        ("MY_DB_SERVICE_PORT", "5432"),
        ("MY_DB_PORT", "tcp://10.1.0.1:5432"),
        ("MY_DB_PORT_5432_TCP", "tcp://10.1.0.1:5432"),
        ("MY_DB_PORT_5432_TCP_PROTO", "tcp"),
        ("MY_DB_PORT_5432_TCP_PORT", "5432"),
        ("MY_DB_PORT_5432_TCP_ADDR", "10.1.0.1"),
        ("TWO_SERVICE_PORT", "80"),
        ("TWO_SERVICE_PORT_WEB_UI", "80"),
        ("TWO_SERVICE_PORT_DNS", "53"),
        ("TWO_PORT", "tcp://[fd00::9]:80"),
        ("TWO_PORT_53_UDP", "udp://[fd00::9]:53"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
    ] {
        assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!env.keys().any(|name| name.starts_with("HEADLESS") || name.starts_with("OTHER")));

    let without =
        env_of(json!({"spec": {"enableServiceLinks": false}}), json!({}), Some(&services));
    let names: Vec<String> = without.unwrap().into_keys().collect();
    assert!(names.iter().all(|name| name.starts_with("KUBERNETES_")), "{names:?}");
}

#[test]
fn pods_wait_for_the_first_list_of_services() {
    assert_eq!(env_of(json!({}), json!({}), None), Err(ContainerConfigError::ServicesNotListed));
}

#[test]
fn resources_can_be_those_of_another_container() {
    let from = |name: &str| {
        let source = json!({"resource": "limits.cpu", "divisor": "1m", "containerName": name});
        json!({"resources": {"limits": {"cpu": "1"}},
            "env": [{"name": "X", "valueFrom": {"resourceFieldRef": source}}]})
    };
    let other = json!({"spec": {"containers": [
        {"name": "main"}, {"name": "other", "resources": {"limits": {"cpu": "2"}}},
    ]}});
    let services = EnvServices::default();
    for (name, expected) in
        [("", Ok("1000")), ("other", Ok("2000")), ("nobody", Err("container nobody not found"))]
    {
        let got = env_of(other.clone(), from(name), Some(&services));
        let got = got.map(|env| env["X"].clone()).map_err(|error| error.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{name}");
    }
}

use super::*;
use crate::podexec::fixtures::{node_facts, pod};
use crate::volumes::wanted::TmpfsSize;
use serde_json::{Value, json};
use std::sync::Arc;

fn owner(group: Option<u32>, user: Option<u32>) -> Ownership {
    Ownership { group, user }
}

#[test]
fn owner_is_the_user_all_containers_share() {
    let one = json!({"name": "a", "securityContext": {"runAsUser": 5}});
    let other = json!({"name": "b", "securityContext": {"runAsUser": 6}});
    let plain = json!({"name": "c"});
    for (security, containers, expected) in [
        (json!({}), json!([plain]), owner(None, None)),
        (json!({"fsGroup": 9}), json!([plain]), owner(Some(9), None)),
        (json!({}), json!([one]), owner(None, Some(5))),
        (json!({}), json!([one, other]), owner(None, None)),
        (json!({}), json!([one, plain]), owner(None, None)),
        (json!({"runAsUser": 5}), json!([one, plain]), owner(None, Some(5))),
    ] {
        let spec = json!({"securityContext": security, "containers": containers});
        assert_eq!(ownership(&pod(json!({"spec": spec}))), expected, "{spec}");
    }
}

fn payload_of(sources: Vec<FileSource>, owner: Ownership) -> Result<Payload, String> {
    let pod = pod(json!({"metadata": {"labels": {"app": "x"}}}));
    let map: api::ConfigMap = serde_json::from_value(json!({"data": {"ca.crt": "CA"}})).unwrap();
    let objects = ObjectSet {
        config_maps: BTreeMap::from([("kube-root-ca.crt".to_owned(), Some(Arc::new(map)))]),
        secrets: BTreeMap::new(),
    };
    let key = TokenKey { audience: None, expiration_seconds: 3607 };
    let answer = json!({"spec": {"expirationSeconds": 3607},
        "status": {"token": "T", "expirationTimestamp": "2030-01-01T00:00:00Z"}});
    let answer = serde_json::from_value(answer).unwrap();
    let token = crate::volumes::token::read_token(answer, &key).unwrap();
    let tokens = BTreeMap::from([(key, Ok(token))]);
    let node = node_facts();
    let fields = FieldFacts::of(&pod, &node.host_ips, node.allocatable);
    let content = SourceContent { objects: &objects, tokens: &tokens, fields: &fields };
    let volume = FilesVolume {
        plugin: "kubernetes.io~projected",
        tmpfs: Some(TmpfsSize(None)),
        default_mode: 0o644,
        sources,
    };
    files_payload(&pod, &volume, content, owner).map_err(|error| error.to_string())
}

fn kube_api_access() -> Vec<FileSource> {
    let items: Value =
        json!([{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]);
    vec![
        FileSource::Token { audience: None, expiration_seconds: 3607, path: "token".to_owned() },
        FileSource::ConfigMap {
            name: "kube-root-ca.crt".to_owned(),
            items: serde_json::from_value(json!([{"key": "ca.crt", "path": "ca.crt"}])).unwrap(),
            optional: false,
        },
        FileSource::DownwardApi(serde_json::from_value(items).unwrap()),
    ]
}

fn shown(payload: &Payload) -> Vec<String> {
    let line = |(path, file): (&String, &PayloadFile)| {
        let text = String::from_utf8(file.bytes.clone()).unwrap();
        format!("{path} {:o} {:?} {text}", file.mode, file.owner)
    };
    payload.iter().map(line).collect()
}

#[test]
fn api_access_volume_holds_token_ca_and_namespace() {
    let payload = payload_of(kube_api_access(), owner(None, None)).unwrap();
    assert_eq!(
        shown(&payload),
        ["ca.crt 644 None CA", "namespace 644 None ns", "token 644 None T"]
    );
}

#[test]
fn token_is_private_where_its_user_or_group_is_known() {
    for (of, expected) in [
        (owner(None, Some(5)), "token 600 Some(5) T"),
        (owner(Some(9), None), "token 600 None T"),
        (owner(Some(9), Some(5)), "token 600 Some(5) T"),
    ] {
        let payload = payload_of(kube_api_access(), of).unwrap();
        assert_eq!(shown(&payload)[2], expected);
        assert_eq!(shown(&payload)[0], "ca.crt 644 None CA");
    }
}

#[test]
fn missing_objects_fail_unless_optional() {
    let map = |optional| FileSource::ConfigMap { name: "no".to_owned(), items: vec![], optional };
    let secret = |optional| FileSource::Secret { name: "no".to_owned(), items: vec![], optional };
    let none = owner(None, None);
    assert_eq!(payload_of(vec![map(true), secret(true)], none), Ok(Payload::new()));
    assert_eq!(payload_of(vec![map(false)], none), Err("configmap \"no\" not found".to_owned()));
    assert_eq!(payload_of(vec![secret(false)], none), Err("secret \"no\" not found".to_owned()));
}

#[test]
fn later_sources_win() {
    let text = |field: &str| {
        let items = json!([{"path": "f", "fieldRef": {"fieldPath": field}}]);
        FileSource::DownwardApi(serde_json::from_value(items).unwrap())
    };
    let payload = payload_of(vec![text("metadata.name"), text("metadata.uid")], owner(None, None));
    assert_eq!(shown(&payload.unwrap()), ["f 644 None uid-1"]);
}

#[test]
fn every_source_that_cannot_be_had_is_named_once() {
    let map = |name: &str| FileSource::ConfigMap {
        name: name.to_owned(),
        items: vec![],
        optional: false,
    };
    let token = FileSource::Token { audience: None, expiration_seconds: 600, path: "t".to_owned() };
    let error = payload_of(vec![token, map("a"), map("b"), map("a")], owner(None, None));
    assert_eq!(
        error.unwrap_err(),
        "[the API server answered a token request without a token, \
         configmap \"a\" not found, configmap \"b\" not found]"
    );
}

use serde_json::{Value, json};

use super::*;

fn origin(place: &'static str) -> Origin<'static> {
    Origin {
        source: PodSource::File,
        place,
        node_name: "Node-1",
        seen: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

fn manifest() -> Value {
    json!({"metadata": {"name": "web", "labels": {"b": "1", "a": "2"}},
        "spec": {"containers": [{"name": "main", "image": "i:1"}]}})
}

fn made(manifest: &Value, origin: &Origin<'_>) -> Result<Pod, ManifestError> {
    static_pod(serde_json::from_value(manifest.clone()).unwrap(), origin)
}

fn uid(manifest: &Value, origin: &Origin<'_>) -> String {
    made(manifest, origin).unwrap().uid().to_string()
}

#[test]
fn pod_gets_its_identity_from_manifest_and_node() {
    let pod = made(&manifest(), &origin("/m/web.yaml")).unwrap();
    assert_eq!(pod.full_name().to_string(), "default/web-node-1");
    assert_eq!(pod.spec().node_name.as_deref(), Some("Node-1"));
    assert_eq!(pod.source(), PodSource::File);
    assert_eq!(pod.annotation("kubernetes.io/config.source"), Some("file"));
    assert_eq!(pod.annotation("kubernetes.io/config.seen"), Some("2026-01-02T03:04:05Z"));
    assert_eq!(pod.config_hash(), Some(pod.uid().as_str()));
    let hex = pod.uid().as_str();
    assert!(hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hex}");
    let toleration = &pod.spec().tolerations.as_ref().unwrap()[0];
    assert_eq!(toleration.operator.as_deref(), Some("Exists"));
    assert_eq!(toleration.effect.as_deref(), Some("NoExecute"));
    assert!(pod.is_static() && pod.is_critical());
}

#[test]
fn uid_is_the_same_again_and_another_after_an_edit() {
    let file = origin("/m/web.yaml");
    let known = uid(&manifest(), &file);
    // The same in every version of noded, or pods restart with an upgrade.
    assert_eq!(known, "5a76067fc6890f2e62cc44a9fcda0b90");
    assert_eq!(uid(&manifest(), &Origin { seen: Timestamp::UNIX_EPOCH, ..file }), known);
    let mut edited = manifest();
    edited["spec"]["containers"][0]["image"] = "i:2".into();
    let others = [
        uid(&edited, &file),
        uid(&manifest(), &origin("/m/other.yaml")),
        uid(&manifest(), &Origin { node_name: "node-2", ..file }),
        uid(&manifest(), &Origin { source: PodSource::Http, ..file }),
    ];
    assert!(others.iter().all(|other| *other != known), "{others:?}");
}

#[test]
fn hash_is_the_published_one() {
    for (text, expected) in [
        ("", "6c62272e07bb014262b821756295c58d"),
        ("a", "d228cb696f1a8caf78912b704e4a8964"),
        ("foobar", "343e1662793c64bf6f0d3597ba446f18"),
    ] {
        let mut hash = Fnv128::new();
        hash.write(text.as_bytes());
        assert_eq!(format!("{:032x}", hash.0), expected, "{text:?}");
    }
}

#[test]
fn own_uid_and_namespace_are_kept() {
    let mut manifest = manifest();
    manifest["metadata"]["uid"] = "mine".into();
    manifest["metadata"]["namespace"] = "kube-system".into();
    let pod = made(&manifest, &origin("/m")).unwrap();
    assert_eq!((pod.uid().as_str(), pod.namespace()), ("mine", "kube-system"));
    assert_eq!(pod.config_hash(), Some("mine"));
}

#[test]
fn what_only_the_api_server_decides_is_dropped() {
    let mut manifest = manifest();
    manifest["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    manifest["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]);
    manifest["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x", "mine": "y"});
    manifest["status"] = json!({"phase": "Failed"});
    let pod = made(&manifest, &origin("/m")).unwrap();
    assert!(pod.deletion_requested().is_none() && pod.api_status().is_none());
    assert!(pod.object().metadata.owner_references.is_none());
    assert_eq!(pod.annotation("mine"), Some("y"));
    assert_eq!(pod.annotation(CONFIG_MIRROR), None);
}

#[test]
fn refusal_lists_problems_and_references() {
    let mut manifest = manifest();
    manifest["spec"]["containers"][0]["image"] = "".into();
    manifest["spec"]["serviceAccountName"] = "x".into();
    let refusal = made(&manifest, &origin("/m")).unwrap_err().to_string();
    assert_eq!(
        refusal,
        "spec.containers[0].image: is required; \
         spec.serviceAccountName: static pods may not reference serviceaccounts"
    );
    manifest["metadata"] = json!({});
    let refusal = made(&manifest, &origin("/m")).unwrap_err().to_string();
    assert_eq!(refusal, "metadata.name: is required");
}

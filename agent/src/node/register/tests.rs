use super::*;
use crate::config::Taint;
use crate::testing::merge_patch::strategic_merge;

fn registration<'a>(config: &'a NodeConfig, node_ips: &'a [IpAddr]) -> Registration<'a> {
    Registration { node_name: "node-1", architecture: "amd64", config, node_ips }
}

fn config() -> NodeConfig {
    NodeConfig {
        labels: BTreeMap::from([("role".to_owned(), "test".to_owned())]),
        taints: vec![Taint {
            key: "dedicated".into(),
            value: String::new(),
            effect: "NoExecute".into(),
        }],
        ..NodeConfig::default()
    }
}

#[test]
fn new_node_carries_labels_taints_and_annotation() {
    let config = config();
    let node = registration(&config, &[]).new_node(api::NodeStatus::default());
    let shown = serde_json::to_value(&node).unwrap();
    assert_eq!(
        shown["metadata"]["labels"],
        json!({
            "kubernetes.io/hostname": "node-1", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64", "role": "test",
        })
    );
    assert_eq!(
        shown["metadata"]["annotations"],
        json!({"volumes.kubernetes.io/controller-managed-attach-detach": "true"})
    );
    assert_eq!(shown["spec"], json!({"taints": [{"key": "dedicated", "effect": "NoExecute"}]}));
}

#[test]
fn cloud_provider_gets_a_taint_the_ip_and_the_id() {
    let config = NodeConfig {
        external_cloud_provider: true,
        provider_id: "cloud://1".into(),
        ..NodeConfig::default()
    };
    let ips = ["192.0.2.10".parse().unwrap()];
    let node = registration(&config, &ips).new_node(api::NodeStatus::default());
    let shown = serde_json::to_value(&node).unwrap();
    assert_eq!(shown["spec"]["taints"][0]["key"], CLOUD_TAINT);
    assert_eq!(shown["spec"]["providerID"], "cloud://1");
    assert_eq!(shown["metadata"]["annotations"][PROVIDED_IP_ANNOTATION], "192.0.2.10");
}

#[test]
fn adopted_node_gets_defaults_back_and_keeps_the_rest() {
    let config = config();
    let registration = registration(&config, &[]);
    let existing: api::Node = serde_json::from_value(json!({
        "metadata": {"name": "node-1", "labels": {"kubernetes.io/arch": "arm64", "mine": "1"}},
        "spec": {"taints": []},
    }))
    .unwrap();
    let patch = registration.adoption_patch(&existing).unwrap();
    assert!(patch.get("spec").is_none(), "taints only at creation: {patch}");
    let mut adopted = serde_json::to_value(&existing).unwrap();
    strategic_merge(&mut adopted, &patch);
    assert_eq!(adopted["metadata"]["labels"]["kubernetes.io/arch"], "amd64");
    assert_eq!(adopted["metadata"]["labels"]["mine"], "1");
    assert_eq!(adopted["metadata"]["labels"].get("role"), None);
    let adopted: api::Node = serde_json::from_value(adopted).unwrap();
    assert_eq!(registration.adoption_patch(&adopted), None);
}

#[test]
fn fresh_node_needs_no_adoption() {
    let config = NodeConfig {
        labels: BTreeMap::from([("kubernetes.io/hostname".to_owned(), "other".to_owned())]),
        ..config()
    };
    let registration = registration(&config, &[]);
    let node = registration.new_node(api::NodeStatus::default());
    assert_eq!(registration.adoption_patch(&node), None);
}

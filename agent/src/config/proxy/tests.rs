use serde_json::json;

use super::*;

fn settings(mut extra: Value) -> Result<ProxySettings, String> {
    extra["apiVersion"] = json!("kubeproxy.config.k8s.io/v1alpha1");
    extra["kind"] = json!("KubeProxyConfiguration");
    let object = extra.as_object().unwrap().clone();
    decode_proxy(Path::new("proxy.yaml"), object, "n").map_err(|error| error.to_string())
}

#[test]
fn empty_file_gives_the_defaults() {
    assert_eq!(settings(json!({})), Ok(ProxySettings::defaults("n")));
}

#[test]
fn credential_of_its_own_is_taken() {
    let settings = settings(json!({ "clientConnection": { "kubeconfig": "/k" } })).unwrap();
    assert_eq!(settings.kubeconfig, Some("/k".into()));
}

#[test]
fn bad_values_name_file_and_field() {
    for (extra, expected) in [
        (json!({ "mod": "x" }), "unknown field \"mod\""),
        (json!({ "mod": "x", "conntrack": 3 }), "conntrack: "),
        (json!({ "mode": "ipvs" }), "mode: invalid value \"ipvs\""),
        (json!({ "clusterCIDR": "ten" }), "clusterCIDR"),
    ] {
        let error = settings(extra).unwrap_err();
        assert!(error.starts_with("proxy.yaml: ") && error.contains(expected), "{error}");
    }
}

use super::*;
use crate::podexec::fixtures::{container, node_facts, pod};
use serde_json::{Value, json};

#[test]
fn fields_show_the_pod_and_its_addresses() {
    let pod = pod(json!({
        "metadata": {"labels": {"app": "x", "b": "two\nlines"}, "annotations": {"a/b": "q\"é\u{7}"}},
        "spec": {"nodeName": "n1", "serviceAccountName": "sa"},
    }));
    let node = node_facts();
    let facts = FieldFacts::of(&pod, &node.host_ips, node.allocatable);
    let ips = ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
    for (path, expected) in [
        ("metadata.name", "web-0"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "uid-1"),
        ("metadata.labels['app']", "x"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['a/b']", "q\"é\u{7}"),
        ("metadata.labels", "app=\"x\"\nb=\"two\\nlines\""),
        ("metadata.annotations", "a/b=\"q\\\"é\\a\""),
        ("spec.nodeName", "n1"),
        ("spec.serviceAccountName", "sa"),
        ("status.hostIP", "192.0.2.10"),
        ("status.hostIPs", "192.0.2.10"),
        ("status.podIP", "10.0.0.5"),
        ("status.podIPs", "10.0.0.5,fd00::5"),
    ] {
        assert_eq!(pod_field(&pod, path, &ips, &facts).as_deref(), Ok(expected), "{path}");
    }
    let unknown = pod_field(&pod, "spec.color", &ips, &facts).unwrap_err();
    assert_eq!(unknown.to_string(), "unsupported fieldPath: spec.color");
}

#[test]
fn resources_are_divided_and_rounded_up() {
    let full = json!({"limits": {"cpu": "1500m", "memory": "100Mi", "hugepages-2Mi": "4Mi"},
        "requests": {"cpu": "250m", "memory": "1", "ephemeral-storage": "1Ki"}});
    let none = json!({});
    // resources, field, divisor, expected
    for (resources, field, divisor, expected) in [
        (&full, "limits.cpu", None, Ok("2")),
        (&full, "limits.cpu", Some("1m"), Ok("1500")),
        (&full, "limits.cpu", Some("0"), Ok("2")),
        (&full, "requests.cpu", Some("100m"), Ok("3")),
        (&full, "limits.memory", Some("1Mi"), Ok("100")),
        (&full, "limits.memory", None, Ok("104857600")),
        (&full, "requests.memory", Some("1Mi"), Ok("1")),
        (&full, "requests.ephemeral-storage", None, Ok("1024")),
        (&full, "limits.hugepages-2Mi", Some("2Mi"), Ok("2")),
        (&none, "limits.cpu", None, Ok("4")),
        (&none, "limits.cpu", Some("1m"), Ok("3900")),
        (&none, "limits.memory", Some("1Gi"), Ok("7")),
        (&none, "limits.ephemeral-storage", Some("1Gi"), Ok("90")),
        (&none, "requests.cpu", None, Ok("0")),
        (&none, "requests.memory", None, Ok("0")),
        (&none, "limits.gpu", None, Err("unsupported container resource: limits.gpu")),
        (&none, "cpu", None, Err("unsupported container resource: cpu")),
    ] {
        let got = field_of(json!({}), resources, field, divisor);
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(got.map_err(|error| error.to_string()), expected, "{field} {divisor:?}");
    }
}

#[test]
fn limit_of_the_pod_stands_in_before_the_nodes() {
    let bounded = json!({"spec": {"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}});
    let got = |field| field_of(bounded.clone(), &json!({}), field, None).unwrap();
    assert_eq!(got("limits.cpu"), "2");
    assert_eq!(got("limits.memory"), (1_u64 << 30).to_string());
    assert_eq!(got("requests.cpu"), "0");
}

fn field_of(
    overlay: Value,
    resources: &Value,
    field: &str,
    divisor: Option<&str>,
) -> Result<String, ContainerConfigError> {
    let pod = pod(overlay);
    let node = node_facts();
    let facts = FieldFacts::of(&pod, &node.host_ips, node.allocatable);
    let container = container(json!({"name": "main", "resources": resources}));
    let selector = api::ResourceFieldSelector {
        resource: field.to_owned(),
        divisor: divisor.map(|text| Quantity(text.to_owned())),
        ..Default::default()
    };
    resource_field(&container, &selector, &facts)
}

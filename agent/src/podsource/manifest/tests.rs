use serde_json::json;

use super::*;

fn decode(text: &str) -> Result<(api::Pod, Vec<String>), ManifestError> {
    decode_pod(parse_document(text)?.0)
}

fn refusal(text: &str) -> String {
    decode(text).unwrap_err().to_string()
}

const SMALL: &str = "
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: main
    image: i
";

#[test]
fn yaml_and_json_are_read_alike() {
    let json = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "main", "image": "i"}]}});
    assert_eq!(decode(SMALL).unwrap(), decode(&json.to_string()).unwrap());
}

#[test]
fn first_of_several_documents_counts() {
    let (_, count) = parse_document(&format!("---{SMALL}---{SMALL}")).unwrap();
    assert_eq!(count, 2);
}

#[test]
fn refusal_says_what_the_text_is() {
    for (text, expected) in [
        ("", "it is empty"),
        ("---\n", "it is empty"),
        ("kind: Service\napiVersion: v1", "it is not a pod: kind is \"Service\""),
        ("kind: Pod", "apiVersion \"\""),
        ("a: [", "it is not valid YAML or JSON"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(expected), "{text:?}: {refusal}");
    }
}

#[test]
fn field_of_the_wrong_type_is_named() {
    for (from, to, field) in [
        ("image: i", "image: [i]", "spec.containers[0].image"),
        ("image: i", "image: i\n    ports: [{containerPort: http}]", "ports[0].containerPort"),
        ("spec:", "spec:\n  hostNetwork: perhaps", "spec.hostNetwork"),
        ("{name: a}", "{name: a, labels: {x: 1}}", "metadata.labels.x"),
    ] {
        let refusal = refusal(&SMALL.replace(from, to));
        assert!(refusal.contains(&format!("{field}: ")), "{refusal}");
    }
}

#[test]
fn unknown_fields_are_told() {
    let text = SMALL.replace("image: i", "image: i\n    imagePolicy: Never");
    assert_eq!(decode(&text).unwrap().1, ["spec.containers[0].imagePolicy"]);
    assert!(decode(SMALL).unwrap().1.is_empty());
}

#[test]
fn quantities_may_be_numbers() {
    let text = SMALL.replace(
        "image: i",
        "image: i\n    resources: {limits: {cpu: 1, memory: 64Mi}, requests: {cpu: 0.5}}",
    );
    let (pod, unknown) = decode(&text).unwrap();
    let resources = pod.spec.unwrap().containers[0].resources.clone().unwrap();
    assert_eq!(resources.limits.unwrap()["cpu"].0, "1");
    assert_eq!(resources.requests.unwrap()["cpu"].0, "0.5");
    assert!(unknown.is_empty());
}

#[test]
fn modes_may_be_octal() {
    let volume = "spec:\n  volumes: [{name: v, downwardAPI: {defaultMode: 0640}}]";
    let (pod, _) = decode(&SMALL.replace("spec:", volume)).unwrap();
    let volumes = pod.spec.unwrap().volumes.unwrap();
    assert_eq!(volumes[0].downward_api.as_ref().unwrap().default_mode, Some(0o640));
}

#[test]
fn list_is_split_into_its_pods() {
    let list = json!({"kind": "PodList", "apiVersion": "v1",
        "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]});
    let items = split_list(list);
    let names: Vec<_> =
        items.iter().map(|item| (&item["kind"], &item["metadata"]["name"])).collect();
    assert_eq!(names, [(&json!("Pod"), &json!("a")), (&json!("Pod"), &json!("b"))]);
    let (pod, _) = parse_document(SMALL).unwrap();
    assert_eq!(split_list(pod.clone()), [pod]);
}

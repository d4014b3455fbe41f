use serde_json::Value;

use super::*;
use crate::testing::build::pod;

fn status(phase: &str) -> api::PodStatus {
    api::PodStatus { phase: Some(phase.to_owned()), ..api::PodStatus::default() }
}

#[test]
fn a_list_has_the_published_status_of_each_pod_else_that_of_its_source() {
    let [a, b] = ["shop/a", "shop/b"].map(|name| pod(name).status(status("Pending")).build());
    let running = status("Running");
    let items = [item(&a, Some(&running)), item(&b, None)];
    let list: Value = serde_json::from_slice(&pod_list(items.into_iter()).unwrap()).unwrap();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("PodList"), &json!("v1")));
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    assert_eq!(list["items"][0]["status"]["phase"], "Running");
    assert_eq!(list["items"][0]["spec"]["nodeName"], "node");
    assert_eq!(list["items"][0].get("kind"), None);
    assert_eq!(list["items"][1]["status"]["phase"], "Pending");
}

#[test]
fn a_list_of_nothing_is_a_list() {
    let text = String::from_utf8(pod_list(std::iter::empty()).unwrap()).unwrap();
    assert_eq!(text, r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#);
}

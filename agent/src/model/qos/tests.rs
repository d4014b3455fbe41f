use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::PodSource;

fn container(requests: Value, limits: Value) -> Value {
    json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
}

#[test]
fn class_follows_requests_and_limits() {
    let none = || container(json!({}), json!({}));
    let full = || json!({"cpu": "1", "memory": "1Gi"});
    let equal = || container(full(), full());
    let table: [(&str, Value, QosClass); 12] = [
        ("nothing asked", json!({"containers": [none()]}), QosClass::BestEffort),
        (
            "zero is nothing",
            json!({"containers": [container(json!({"cpu": "0"}), json!({"memory": "0"}))]}),
            QosClass::BestEffort,
        ),
        (
            "other resources do not count",
            json!({"containers": [container(json!({"hugepages-2Mi": "2Mi"}), json!({"hugepages-2Mi": "2Mi"}))]}),
            QosClass::BestEffort,
        ),
        ("requests equal limits", json!({"containers": [equal()]}), QosClass::Guaranteed),
        (
            "equal in another spelling",
            json!({"containers": [container(json!({"cpu": "1000m", "memory": "1024Mi"}), full())]}),
            QosClass::Guaranteed,
        ),
        (
            "limits without requests",
            json!({"containers": [container(json!({}), full())]}),
            QosClass::Burstable,
        ),
        (
            "one container without limits",
            json!({"containers": [equal(), none()]}),
            QosClass::Burstable,
        ),
        (
            "init container without limits",
            json!({"containers": [equal()], "initContainers": [none()]}),
            QosClass::Burstable,
        ),
        (
            "init container with limits",
            json!({"containers": [equal()], "initContainers": [equal()]}),
            QosClass::Guaranteed,
        ),
        (
            "only a CPU request",
            json!({"containers": [container(json!({"cpu": "1m"}), json!({}))]}),
            QosClass::Burstable,
        ),
        (
            "pod level figures",
            json!({"containers": [none()], "resources": {"requests": full(), "limits": full()}}),
            QosClass::Guaranteed,
        ),
        (
            "ephemeral containers do not count",
            json!({"containers": [equal()], "ephemeralContainers": [{"name": "e"}]}),
            QosClass::Guaranteed,
        ),
    ];
    for (case, value, class) in table {
        let spec: api::PodSpec = serde_json::from_value(value).unwrap();
        assert_eq!(qos_class(&spec), class, "{case}");
    }
}

#[test]
fn published_class_wins_over_the_spec() {
    let object: api::Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"qosClass": "Burstable"},
    }))
    .unwrap();
    let pod = Pod::new(Arc::new(object), PodSource::Api).unwrap();
    assert_eq!(pod_qos_class(&pod), QosClass::Burstable);
}

use serde_json::{Value, json};

use super::routes;
use crate::server::fixtures::get;

#[tokio::test]
async fn the_configuration_shows_under_the_kubelets_name() {
    let (code, kind, body) = get(routes(&json!({"maxPods": 7})), "/configz").await;
    assert_eq!((code, kind.as_str()), (200, "application/json"));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({"kubeletconfig": {"maxPods": 7}}));
}

//! Images that cannot be had.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::node::NodeOptions;
use integration::real_runtime::AGNHOST_IMAGE;
use integration::registry::Registry;
use integration::runner::Test;
use integration::watch::WatchEvent;
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        missing_image_is_tried_again_with_a_wait_until_it_is_there,
        missing_image_that_may_not_be_pulled_is_named,
        malformed_image_name_is_refused,
        image_is_pulled_when_it_is_missing_and_always_when_asked,
        private_image_is_pulled_with_the_pods_credential,
        image_that_the_registry_does_not_have_says_so,
    ]
}

fn waiting(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["waiting"]
}

fn pod_with_image(namespace: &str, node: &str, image: &str, policy: &str) -> Value {
    let mut pod = pods::script_pod(namespace, "a", node, "exec sleep 600");
    pod["spec"]["containers"][0]["image"] = image.into();
    pod["spec"]["containers"][0]["imagePullPolicy"] = policy.into();
    pod
}

async fn missing_image_is_tried_again_with_a_wait_until_it_is_there(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    // Nothing listens on this port.
    let image = format!("127.0.0.1:1/{namespace}:1");
    let mut watch = cluster.watch(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
    let pod = pod_with_image(&namespace, node.name(), &image, "IfNotPresent");
    let pod = cluster.create(&pod).await?;
    let reason =
        |reason: &'static str| move |event: &WatchEvent| waiting(&event.object)["reason"] == reason;
    let failed = watch.until("ErrImagePull", LIMIT, reason("ErrImagePull")).await?.object;
    let message = waiting(&failed)["message"].as_str().unwrap_or_default();
    ensure!(message.contains(&image), "message: {message}");
    ensure!(failed["status"]["phase"] == "Pending", "{}", failed["status"]);
    let backing = watch.until("ImagePullBackOff", LIMIT, reason("ImagePullBackOff")).await?.object;
    let message = waiting(&backing)["message"].as_str().unwrap_or_default();
    let expected = format!("Back-off pulling image \"{image}\"");
    ensure!(message.starts_with(&expected), "message: {message}");
    pods::wait_events(&cluster, &pod, &["Pulling", "Failed", "BackOff"], LIMIT).await?;

    // An image that no other test asks the name of: a container's status may show any of them.
    node.runtime().ctr(&["images", "tag", AGNHOST_IMAGE, &image]).await?;
    pods::wait_ready(&cluster, &pods::path(&namespace, "a"), LIMIT).await?;
    Ok(())
}

async fn missing_image_that_may_not_be_pulled_is_named(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let image = "noded.test/nowhere:1";
    let pod = cluster.create(&pod_with_image(&namespace, node.name(), image, "Never")).await?;
    let pod = pods::wait_for(&cluster, &pods::path(&namespace, "a"), LIMIT, |pod| {
        waiting(pod)["reason"] == "ErrImageNeverPull"
    })
    .await
    .map(|seen| (seen, pod))?;
    let (seen, created) = pod;
    let message = waiting(&seen)["message"].as_str().unwrap_or_default();
    let expected = format!("Container image \"{image}\" is not present with pull policy of Never");
    ensure!(message == expected, "message: {message}");
    pods::wait_events(&cluster, &created, &["ErrImageNeverPull"], LIMIT).await?;
    Ok(())
}

async fn malformed_image_name_is_refused(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let image = "Upper/CASE:1:2";
    let pod = pod_with_image(&namespace, node.name(), image, "IfNotPresent");
    let created = cluster.create(&pod).await?;
    let seen = pods::wait_for(&cluster, &pods::path(&namespace, "a"), LIMIT, |pod| {
        waiting(pod)["reason"] == "InvalidImageName"
    })
    .await?;
    let message = waiting(&seen)["message"].as_str().unwrap_or_default();
    ensure!(message.contains(image), "message: {message}");
    pods::wait_events(&cluster, &created, &["InspectFailed"], LIMIT).await?;
    Ok(())
}

async fn image_is_pulled_when_it_is_missing_and_always_when_asked(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let registry = Registry::start(&cluster.ground().image_archive("agnhost"), None).await?;
    node.runtime().trust_registry(&registry.address().to_string())?;
    let image = format!("{}/{namespace}/tools:1", registry.address());
    let pod = |name: &str, policy: &str| {
        let mut pod = pod_with_image(&namespace, node.name(), &image, policy);
        pod["metadata"]["name"] = name.into();
        pod
    };
    let first = pods::run(&cluster, &pod("first", "IfNotPresent"), LIMIT).await?;
    pods::wait_events(&cluster, &first, &["Pulling", "Pulled", "Created", "Started"], LIMIT)
        .await?;
    let asked = registry.manifest_requests();
    ensure!(asked > 0, "nothing was asked of the registry");
    pods::run(&cluster, &pod("second", "IfNotPresent"), LIMIT).await?;
    ensure!(registry.manifest_requests() == asked, "an image that is there was asked for");
    pods::run(&cluster, &pod("third", "Always"), LIMIT).await?;
    ensure!(registry.manifest_requests() > asked, "nothing was asked of the registry");
    Ok(())
}

async fn private_image_is_pulled_with_the_pods_credential(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    // Not the shared one: the kubelet asks for credentials ever after, for all names of the image.
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let archive = cluster.ground().image_archive("busybox");
    let registry = Registry::start(&archive, Some(("reader", "open sesame"))).await?;
    let address = registry.address().to_string();
    node.runtime().trust_registry(&address)?;
    let image = format!("{address}/{namespace}/private:1");
    let mut pod = pod_with_image(&namespace, node.name(), &image, "IfNotPresent");
    let refused = cluster.create(&pod).await?;
    let path = pods::path(&namespace, "a");
    pods::wait_for(&cluster, &path, LIMIT, |pod| {
        waiting(pod)["reason"] == "ErrImagePull" || waiting(pod)["reason"] == "ImagePullBackOff"
    })
    .await?;
    pods::wait_events(&cluster, &refused, &["Failed"], LIMIT).await?;

    let login =
        json!({"auths": {address.as_str(): {"username": "reader", "password": "open sesame"}}});
    cluster
        .create(&json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "login", "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": login.to_string()},
        }))
        .await?;
    pod["metadata"]["name"] = "b".into();
    pod["spec"]["imagePullSecrets"] = json!([{"name": "login"}]);
    pods::run(&cluster, &pod, LIMIT).await?;
    Ok(())
}

async fn image_that_the_registry_does_not_have_says_so(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let registry = Registry::start(&cluster.ground().image_archive("busybox"), None).await?;
    node.runtime().trust_registry(&registry.address().to_string())?;
    let image = format!("{}/tools:no-such", registry.address());
    cluster.create(&pod_with_image(&namespace, node.name(), &image, "Always")).await?;
    let pod = pods::wait_for(&cluster, &pods::path(&namespace, "a"), LIMIT, |pod| {
        waiting(pod)["reason"] == "ErrImagePull"
    })
    .await?;
    let message = waiting(&pod)["message"].as_str().unwrap_or_default();
    ensure!(message.contains(&image) && message.contains("not found"), "message: {message}");
    Ok(())
}

//! Who gets an image, how it comes, and what is seen meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::real_cluster::Cluster;
use integration::real_runtime::{AGNHOST_IMAGE, BUSYBOX_IMAGE};
use integration::registry::{Registry, RegistryOptions};
use integration::runner::Test;
use integration::wait;
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

const USER: &str = "reader";
const PASSWORD: &str = "open sesame";

pub fn tests() -> Vec<Test> {
    integration::tests![
        wrong_pull_secret_backs_off_until_it_is_mended,
        privately_pulled_image_is_not_for_pods_without_the_secret,
        credential_plugin_gives_the_password,
        credential_plugin_gets_a_token_of_the_pods_account,
        progress_of_a_slow_pull_is_visible,
        pulls_run_side_by_side_up_to_the_limit,
        image_volume_is_mounted_read_only,
        image_volume_that_cannot_be_pulled_holds_its_container_back,
    ]
}

fn waiting(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["waiting"]
}

fn pod(namespace: &str, name: &str, node: &Node, image: &str, secret: Option<&str>) -> Value {
    let mut pod = pods::script_pod(namespace, name, node.name(), "exec sleep 600");
    pod["spec"]["containers"][0]["image"] = image.into();
    pod["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent".into();
    if let Some(secret) = secret {
        pod["spec"]["imagePullSecrets"] = json!([{"name": secret}]);
    }
    pod
}

/// A registry whose image only the reader gets, on a node that trusts it.
async fn private_registry(cluster: &Cluster) -> Result<Registry> {
    let archive = cluster.ground().image_archive("busybox");
    Registry::start(&archive, Some((USER, PASSWORD))).await
}

fn login(registry: &Registry, password: &str) -> String {
    let address = registry.address().to_string();
    json!({"auths": {address: {"username": USER, "password": password}}}).to_string()
}

async fn create_secret(cluster: &Cluster, namespace: &str, name: &str, login: &str) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": login},
    });
    cluster.create(&secret).await.map(drop)
}

async fn wait_reason(cluster: &Cluster, path: &str, reason: &str) -> Result<Value> {
    pods::wait_for(cluster, path, LIMIT, |pod| waiting(pod)["reason"] == reason).await
}

async fn wrong_pull_secret_backs_off_until_it_is_mended(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let registry = private_registry(&cluster).await?;
    node.runtime().trust_registry(&registry.address().to_string())?;
    create_secret(&cluster, &namespace, "login", &login(&registry, "wrong")).await?;
    let image = format!("{}/{namespace}/private:1", registry.address());
    let created = pod(&namespace, "a", &node, &image, Some("login"));
    let created = cluster.create(&created).await?;
    let path = pods::path(&namespace, "a");
    let failed = wait_reason(&cluster, &path, "ErrImagePull").await?;
    let message = waiting(&failed)["message"].as_str().unwrap_or_default();
    ensure!(message.contains(&image) && message.contains("401"), "message: {message}");
    ensure!(!message.contains("wrong"), "the password is in the message: {message}");
    let held = wait_reason(&cluster, &path, "ImagePullBackOff").await?;
    let message = waiting(&held)["message"].as_str().unwrap_or_default();
    let begin = format!("Back-off pulling image \"{image}\": ErrImagePull: ");
    ensure!(message.starts_with(&begin) && message.contains("401"), "message: {message}");
    pods::wait_events(&cluster, &created, &["Pulling", "Failed", "BackOff"], LIMIT).await?;

    let data = BASE64_STANDARD.encode(login(&registry, PASSWORD));
    let secret = format!("/api/v1/namespaces/{namespace}/secrets/login");
    let patch = json!({"data": {".dockerconfigjson": data}});
    cluster.client().merge_patch(&secret, &patch).await?;
    let ready = pods::wait_ready(&cluster, &path, LIMIT).await?;
    let events = pods::wait_events(&cluster, &ready, &["Pulled"], LIMIT).await?;
    let pulled = events.iter().find(|event| event["reason"] == "Pulled");
    let message = pulled.and_then(|event| event["message"].as_str()).unwrap_or_default();
    let begin = format!("Successfully pulled image \"{image}\" in ");
    let has_size = message.contains(" including waiting). Image size: ");
    ensure!(message.starts_with(&begin) && has_size, "message: {message}");
    Ok(())
}

async fn privately_pulled_image_is_not_for_pods_without_the_secret(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let registry = private_registry(&cluster).await?;
    node.runtime().trust_registry(&registry.address().to_string())?;
    for name in ["login", "copy"] {
        create_secret(&cluster, &namespace, name, &login(&registry, PASSWORD)).await?;
    }
    let image = format!("{}/{namespace}/private:1", registry.address());
    pods::run(&cluster, &pod(&namespace, "owner", &node, &image, Some("login")), LIMIT).await?;

    let asked = registry.manifest_requests();
    cluster.create(&pod(&namespace, "stranger", &node, &image, None)).await?;
    let path = pods::path(&namespace, "stranger");
    wait_reason(&cluster, &path, "ErrImagePull").await?;
    let twin = pod(&namespace, "twin", &node, &image, Some("copy"));
    let twin = pods::run(&cluster, &twin, LIMIT).await?;
    ensure!(registry.manifest_requests() == asked, "a known credential was tried again");
    let events = pods::wait_events(&cluster, &twin, &["Pulled"], LIMIT).await?;
    let expected = format!(
        "Container image \"{image}\" already present on machine and can be accessed by the pod"
    );
    ensure!(events.iter().any(|event| event["message"] == expected.as_str()), "{events:?}");

    // What is known of the image outlives the agent.
    node.agent()?.restart().await?;
    node.wait_ready(LIMIT).await?;
    cluster.create(&pod(&namespace, "late", &node, &image, None)).await?;
    wait_reason(&cluster, &pods::path(&namespace, "late"), "ErrImagePull").await?;
    pods::run(&cluster, &pod(&namespace, "again", &node, &image, Some("login")), LIMIT).await?;
    ensure!(registry.manifest_requests() == asked, "a known credential was tried again");
    Ok(())
}

/// Writes a plugin and its configuration; the command line arguments that name them.
fn install_plugin(folder: &Path, script: &str, more: &Value) -> Result<Vec<String>> {
    let programs = folder.join("bin");
    fs::create_dir_all(&programs)?;
    let program = programs.join("vault");
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let mut provider = json!({
        "name": "vault",
        "defaultCacheDuration": "0s",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "env": [{"name": "VAULT_USER", "value": USER}],
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        provider[field] = value.clone();
    }
    let config = folder.join("providers.json");
    let object = json!({
        "kind": "CredentialProviderConfig",
        "apiVersion": "kubelet.config.k8s.io/v1",
        "providers": [provider],
    });
    fs::write(&config, object.to_string())?;
    Ok(vec![
        format!("--image-credential-provider-config={}", config.display()),
        format!("--image-credential-provider-bin-dir={}", programs.display()),
    ])
}

/// A plugin that answers with the reader's password when its request matches a pattern.
fn script(registry: &Registry, pattern: &str) -> String {
    let address = registry.address();
    format!(
        r#"#!/bin/sh
read -r request
case "$request" in
{pattern}) ;;
*) echo "unexpected request" >&2; exit 1;;
esac
cat <<END
{{"kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
 "cacheKeyType": "Registry", "cacheDuration": "1h",
 "auth": {{"{address}": {{"username": "$VAULT_USER", "password": "{PASSWORD}"}}}}}}
END
"#
    )
}

async fn credential_plugin_gives_the_password(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let namespace = context.namespace().await?;
    let registry = private_registry(&cluster).await?;
    let address = registry.address();
    let folder = cluster.run().directory().join(format!("plugins-{namespace}"));
    let image = format!("{address}/{namespace}/private");
    let wanted = format!("*CredentialProviderRequest*{image}*");
    let matches = json!({"matchImages": [format!("{address}/{namespace}")]});
    let agent_args = install_plugin(&folder, &script(&registry, &wanted), &matches)?;
    let node = context.node(NodeOptions { agent_args, ..NodeOptions::default() }).await?;
    node.runtime().trust_registry(&address.to_string())?;
    let image = format!("{image}:1");
    pods::run(&cluster, &pod(&namespace, "a", &node, &image, None), LIMIT).await?;
    // The plugin is the node's, so what came by it is every pod's.
    let asked = registry.manifest_requests();
    pods::run(&cluster, &pod(&namespace, "b", &node, &image, None), LIMIT).await?;
    ensure!(registry.manifest_requests() == asked, "an image of the node's was asked for");
    // Not one of the plugin's images.
    let other = format!("{address}/elsewhere/private:1");
    cluster.create(&pod(&namespace, "c", &node, &other, None)).await?;
    wait_reason(&cluster, &pods::path(&namespace, "c"), "ErrImagePull").await?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// Lets nodes ask for tokens of this audience, as an administrator has to.
async fn allow_audience(cluster: &Cluster, name: &str) -> Result<()> {
    let group = "rbac.authorization.k8s.io";
    cluster
        .create(&json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [{
                "verbs": ["request-serviceaccounts-token-audience"],
                "apiGroups": [""],
                "resources": [name],
            }],
        }))
        .await?;
    cluster
        .create(&json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:nodes"}],
        }))
        .await
        .map(drop)
}

async fn credential_plugin_gets_a_token_of_the_pods_account(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let namespace = context.namespace().await?;
    let registry = private_registry(&cluster).await?;
    let folder = cluster.run().directory().join(format!("plugins-{namespace}"));
    let audience = format!("vault-{namespace}");
    allow_audience(&cluster, &audience).await?;
    let wanted = "*serviceAccountToken*eyJ*serviceAccountAnnotations*vault.test/role*puller*";
    let matches = [registry.address().to_string()];
    let attributes = json!({"matchImages": matches, "tokenAttributes": {
        "serviceAccountTokenAudience": audience,
        "cacheType": "ServiceAccount",
        "requireServiceAccount": true,
        "requiredServiceAccountAnnotationKeys": ["vault.test/role"],
    }});
    // The order of the request's fields is the agent's business.
    let other = "*serviceAccountAnnotations*vault.test/role*puller*serviceAccountToken*eyJ*";
    let pattern = format!("{wanted}|{other}");
    let agent_args = install_plugin(&folder, &script(&registry, &pattern), &attributes)?;
    let node = context.node(NodeOptions { agent_args, ..NodeOptions::default() }).await?;
    node.runtime().trust_registry(&registry.address().to_string())?;
    for (name, annotations) in
        [("robot", json!({"vault.test/role": "puller"})), ("plain", json!({}))]
    {
        cluster
            .create(&json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            }))
            .await?;
    }
    let image = format!("{}/{namespace}/private:1", registry.address());
    let of_account = |name: &str, account: &str| {
        let mut pod = pod(&namespace, name, &node, &image, None);
        pod["spec"]["serviceAccountName"] = account.into();
        pod
    };
    pods::run(&cluster, &of_account("a", "robot"), LIMIT).await?;
    let asked = registry.manifest_requests();
    pods::run(&cluster, &of_account("b", "robot"), LIMIT).await?;
    ensure!(registry.manifest_requests() == asked, "the account has the image already");
    cluster.create(&of_account("c", "plain")).await?;
    wait_reason(&cluster, &pods::path(&namespace, "c"), "ErrImagePull").await?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

async fn progress_of_a_slow_pull_is_visible(context: Arc<TestContext>) -> Result<()> {
    if peers_wanted() {
        // The kubelet shows none.
        return Ok(());
    }
    let cluster = context.cluster().await?;
    // A node that has none of the image's layers.
    let images = vec!["pause", "busybox"];
    let node = context.node(NodeOptions { images, ..NodeOptions::default() }).await?;
    let namespace = context.namespace().await?;
    let archive = cluster.ground().image_archive("agnhost");
    // The pull takes about twelve seconds.
    let speed = u32::try_from(fs::metadata(&archive)?.len() / 12)?;
    let options = RegistryOptions { bytes_per_second: Some(speed), ..RegistryOptions::default() };
    let registry = Registry::serve(&archive, options).await?;
    node.runtime().trust_registry(&registry.address().to_string())?;
    let image = format!("{}/{namespace}/large:1", registry.address());
    let mut watch = cluster.watch(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
    let mut slow = services::server_pod(&namespace, "a", node.name(), "a");
    slow["spec"]["containers"][0]["image"] = image.as_str().into();
    cluster.create(&slow).await?;
    let mut messages = Vec::new();
    watch
        .until("Ready", 2 * LIMIT, |event| {
            let waiting = waiting(&event.object);
            if let Some(message) = waiting["message"].as_str() {
                messages.push((waiting["reason"].clone(), message.to_owned()));
            }
            pods::is_ready(&event.object)
        })
        .await?;
    let begin = format!("Pulling image \"{image}\": downloading, ");
    let (reason, message) = messages
        .iter()
        .find(|(_, message)| message.starts_with(&begin))
        .with_context(|| format!("no progress in {messages:?}"))?;
    ensure!(reason == "ContainerCreating", "reason: {reason}");
    ensure!(message.contains('%') && message.contains("iB of "), "message: {message}");
    ensure!(messages.len() <= 4, "too many writes: {messages:?}");
    Ok(())
}

async fn pulls_run_side_by_side_up_to_the_limit(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let kubelet_config = json!({"serializeImagePulls": false, "maxParallelImagePulls": 2});
    let node = context.node(NodeOptions { kubelet_config, ..NodeOptions::default() }).await?;
    let namespace = context.namespace().await?;
    // One registry for each image, for containerd fetches a blob only once at a time.
    let mut registries = Vec::new();
    for _ in 0..3 {
        let registry = Registry::start(&cluster.ground().image_archive("busybox"), None).await?;
        node.runtime().trust_registry(&registry.address().to_string())?;
        registry.hold_blobs();
        registries.push(registry);
    }
    let names = ["a", "b", "c"];
    for (name, registry) in names.iter().zip(&registries) {
        let image = format!("{}/{namespace}/tools:1", registry.address());
        let created = cluster.create(&pod(&namespace, name, &node, &image, None)).await?;
        pods::wait_events(&cluster, &created, &["Pulling"], LIMIT).await?;
    }
    let fetching = || registries.iter().filter(|registry| !registry.fetched().is_empty()).count();
    wait::until_value("two pulls at once", LIMIT, || async { Ok(fetching()) }, |count| *count == 2)
        .await?;
    let third = registries.iter().find(|registry| registry.fetched().is_empty());
    ensure!(third.is_some_and(|third| third.manifest_requests() == 0), "a third pull has begun");
    for registry in &registries {
        registry.release_blobs();
    }
    for name in names {
        pods::wait_ready(&cluster, &pods::path(&namespace, name), LIMIT).await?;
    }
    Ok(())
}

/// A pod of the test server that mounts an image.
fn pod_with_image_volume(namespace: &str, node: &Node, image: &str) -> Value {
    let mut pod = services::server_pod(namespace, "a", node.name(), "a");
    pod["spec"]["volumes"] =
        json!([{"name": "tools", "image": {"reference": image, "pullPolicy": "IfNotPresent"}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "tools", "mountPath": "/tools"},
        {"name": "tools", "mountPath": "/only", "subPath": "bin"},
    ]);
    pod
}

async fn image_volume_is_mounted_read_only(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pod_with_image_volume(&namespace, &node, BUSYBOX_IMAGE);
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    for path in ["/tools/bin/busybox", "/only/busybox"] {
        in_pod::shell(&pod, &format!("test -x {path} && echo found")).await?;
    }
    let refused = in_pod::shell(&pod, "touch /tools/new").await;
    ensure!(refused.is_err(), "the volume was written to");
    Ok(())
}

async fn image_volume_that_cannot_be_pulled_holds_its_container_back(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    // Nothing listens on this port.
    let image = format!("127.0.0.1:1/{namespace}:1");
    let created = cluster.create(&pod_with_image_volume(&namespace, &node, &image)).await?;
    let path = pods::path(&namespace, "a");
    let failed = wait_reason(&cluster, &path, "ErrImagePull").await?;
    let message = waiting(&failed)["message"].as_str().unwrap_or_default();
    ensure!(message.contains(&image), "message: {message}");
    wait_reason(&cluster, &path, "ImagePullBackOff").await?;
    pods::wait_events(&cluster, &created, &["Pulling", "Failed", "BackOff"], LIMIT).await?;
    // An image that no other test asks the name of: a container's status may show any of them.
    node.runtime().ctr(&["images", "tag", AGNHOST_IMAGE, &image]).await?;
    pods::wait_ready(&cluster, &path, LIMIT).await?;
    Ok(())
}

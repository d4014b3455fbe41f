//! The agent's API client against a real API server, with a node's credential and nothing more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::adapters::kube::{KubeApi, Kubeconfig, ProxyFeed};
use agent::boundary::{ApiError, EventSink, NodesApi, ObjectsApi, PodWatchEvent, PodsApi};
use agent::model::PodUid;
use anyhow::{Context, Result, bail, ensure};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1 as api;
use netproxy::input::{ObjectKind, ServiceChange};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Ample: each step takes milliseconds.
const LIMIT: Duration = Duration::from_secs(30);

pub fn tests() -> Vec<Test> {
    integration::tests![
        node_credential_serves_node_and_lease,
        node_credential_serves_its_pods,
        node_credential_serves_what_pods_refer_to,
        proxy_feed_starts_as_soon_as_it_is_permitted;
        alone: pod_watch_survives_a_restart_of_the_server,
    ]
}

fn connect(cluster: &Cluster, node: &str) -> Result<KubeApi> {
    let text = cluster.pki().node_kubeconfig(node)?;
    Ok(KubeApi::connect(&Kubeconfig::parse(&text, Path::new("kubelet.conf"))?, node)?)
}

fn node_name(context: &TestContext) -> String {
    format!("api-{}", context.number())
}

fn decode<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

/// A node object of our own making, with a client for it.
async fn registered(context: &TestContext) -> Result<(Arc<Cluster>, KubeApi, String)> {
    let cluster = context.cluster().await?;
    let name = node_name(context);
    let api = connect(&cluster, &name)?;
    api.create_node(&decode(json!({"metadata": {"name": name}}))?).await?;
    Ok((cluster, api, name))
}

async fn remove_node(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.client().delete(&format!("/api/v1/nodes/{name}")).await
}

async fn next<T>(receiver: &mut Receiver<T>) -> Result<T> {
    timeout(LIMIT, receiver.recv()).await.context("nothing came")?.context("the watch ended")
}

async fn node_credential_serves_node_and_lease(context: Arc<TestContext>) -> Result<()> {
    let (cluster, api, name) = registered(&context).await?;
    let again = api.create_node(&decode(json!({"metadata": {"name": name}}))?).await;
    ensure!(matches!(again, Err(ApiError::AlreadyExists(_))), "{again:?}");
    let mut watch = api.watch_node();
    next(&mut watch).await?;
    let condition = json!({"type": "MemoryPressure", "status": "False"});
    let patched = api.patch_node_status(json!({"status": {"conditions": [condition]}})).await?;
    ensure!(patched.metadata.managed_fields.is_none());
    loop {
        let status = next(&mut watch).await?.status.clone().unwrap_or_default();
        if status.conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "MemoryPressure")) {
            break;
        }
    }
    let labels = json!({"metadata": {"labels": {"node.kubernetes.io/test": "yes"}}});
    api.patch_node(labels).await?;
    let absent = api.get_lease().await;
    ensure!(matches!(absent, Err(ApiError::NotFound(_))), "{absent:?}");
    let lease = json!({"metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}});
    let first = api.create_lease(&decode(lease)?).await?;
    let second = api.replace_lease(&first).await?;
    let mut stale = first.clone();
    stale.spec.get_or_insert_default().lease_duration_seconds = Some(41);
    let mut newer = second.clone();
    newer.spec.get_or_insert_default().lease_duration_seconds = Some(42);
    api.replace_lease(&newer).await?;
    let conflict = api.replace_lease(&stale).await;
    ensure!(matches!(conflict, Err(ApiError::Conflict(_))), "{conflict:?}");
    let foreign = connect(&cluster, "somebody-else")?.get_node().await;
    ensure!(matches!(foreign, Err(ApiError::NotFound(_))), "{foreign:?}");
    remove_node(&cluster, &name).await
}

async fn node_credential_serves_its_pods(context: Arc<TestContext>) -> Result<()> {
    let (cluster, api, name) = registered(&context).await?;
    let namespace = context.namespace().await?;
    let mut watch = api.watch_pods();
    ensure!(matches!(next(&mut watch).await?, PodWatchEvent::Restarted));
    ensure!(matches!(next(&mut watch).await?, PodWatchEvent::Synced));
    cluster.create(&pods::pause_pod(&namespace, "a", &name)).await?;
    let PodWatchEvent::Applied(pod) = next(&mut watch).await? else { bail!("no pod") };
    ensure!(pod.metadata.managed_fields.is_none());
    let uid = PodUid::from(pod.metadata.uid.as_deref().context("a pod without a uid")?);
    let patch = |uid: &str| {
        json!({"metadata": {"uid": uid}, "status": {"phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}]}})
    };
    let patched = api.patch_status(&namespace, "a", patch(uid.as_str())).await?;
    ensure!(patched.status.and_then(|status| status.phase).as_deref() == Some("Running"));
    let conflict = api.patch_status(&namespace, "a", patch("another")).await;
    ensure!(matches!(conflict, Err(ApiError::Conflict(_))), "{conflict:?}");
    let conflict = api.delete_finished(&namespace, "a", &"another".into()).await;
    ensure!(matches!(conflict, Err(ApiError::Conflict(_))), "{conflict:?}");
    cluster.client().delete(&pods::path(&namespace, "a")).await?;
    loop {
        match next(&mut watch).await? {
            PodWatchEvent::Applied(pod) if pod.metadata.deletion_timestamp.is_some() => break,
            PodWatchEvent::Applied(_) => {}
            other => bail!("{other:?}"),
        }
    }
    api.delete_finished(&namespace, "a", &uid).await?;
    loop {
        match next(&mut watch).await? {
            PodWatchEvent::Deleted(gone) if gone == uid => break,
            // The server shortens the grace before it deletes.
            PodWatchEvent::Applied(_) => {}
            other => bail!("{other:?}"),
        }
    }
    let absent = api.delete_finished(&namespace, "a", &uid).await;
    ensure!(matches!(absent, Err(ApiError::NotFound(_))), "{absent:?}");
    remove_node(&cluster, &name).await
}

async fn node_credential_serves_what_pods_refer_to(context: Arc<TestContext>) -> Result<()> {
    let (cluster, api, name) = registered(&context).await?;
    let namespace = context.namespace().await?;
    let foreign = api.get_secret(&namespace, "s").await;
    ensure!(matches!(foreign, Err(ApiError::Forbidden(_))), "{foreign:?}");
    for kind in ["ConfigMap", "Secret"] {
        let object = json!({"apiVersion": "v1", "kind": kind,
            "metadata": {"namespace": namespace, "name": "s"}});
        cluster.create(&object).await?;
    }
    let mut pod = pods::pause_pod(&namespace, "a", &name);
    pod["spec"]["volumes"] = json!([{"name": "c", "configMap": {"name": "s"}},
        {"name": "s", "secret": {"secretName": "s"}}]);
    let pod = cluster.create(&pod).await?;
    // The authorizer learns of the pod a moment later.
    wait::until("secret", LIMIT, || async {
        match api.get_secret(&namespace, "s").await {
            Ok(_) => Ok(Look::Met(())),
            Err(error) => Ok(Look::NotYet(error.to_string())),
        }
    })
    .await?;
    api.get_config_map(&namespace, "s").await?;
    let mut states = api.watch_config_map(&namespace, "s");
    ensure!(next(&mut states).await?.is_some());
    cluster.client().delete(&format!("/api/v1/namespaces/{namespace}/configmaps/s")).await?;
    ensure!(next(&mut states).await?.is_none());
    let services = wait::until("services", LIMIT, || async {
        Ok(match api.services_in("default").await {
            Some(services) => Look::Met(services),
            None => Look::NotYet("no list yet".to_owned()),
        })
    })
    .await?;
    ensure!(services.iter().any(|service| service.name == "kubernetes"), "{services:?}");
    let request: TokenRequest = decode(json!({"spec": {"audiences": [],
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "a",
            "uid": pods::uid(&pod)?}}}))?;
    let answer = api.request_token(&namespace, "default", &request).await?;
    ensure!(answer.status.and_then(|status| status.token).is_some());
    let event: api::Event = decode(json!({
        "metadata": {"namespace": namespace, "name": "a.1"},
        "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "a"},
        "reason": "Started", "message": "m", "type": "Normal", "count": 1,
        "source": {"component": "kubelet", "host": name},
        "reportingComponent": "kubelet", "reportingInstance": name}))?;
    api.create_event(&event).await?;
    let patched = api.patch_event(&namespace, "a.1", json!({"count": 2})).await?;
    ensure!(patched.count == Some(2));
    cluster.client().force_delete(&pods::path(&namespace, "a")).await?;
    remove_node(&cluster, &name).await
}

async fn proxy_feed_starts_as_soon_as_it_is_permitted(context: Arc<TestContext>) -> Result<()> {
    let (cluster, api, name) = registered(&context).await?;
    let (sender, mut changes) = tokio::sync::mpsc::channel(16);
    let feed = tokio::spawn(ProxyFeed::new(api, sender).run());
    // A node may watch Services and its Node, but no slices.
    let mut synced = Vec::new();
    while synced.len() < 2 {
        if let ServiceChange::Synced(kind) = next(&mut changes).await? {
            synced.push(kind);
        }
    }
    ensure!(!synced.contains(&ObjectKind::EndpointSlices), "{synced:?}");
    let binding = format!("proxier-{name}");
    cluster
        .create(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": binding},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "system:node-proxier"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group",
                "name": "system:nodes"}]}))
        .await?;
    let mut kubernetes_slice = false;
    loop {
        match next(&mut changes).await? {
            ServiceChange::SliceApplied(slice) => {
                kubernetes_slice |= &*slice.metadata.name == "kubernetes";
            }
            ServiceChange::Synced(ObjectKind::EndpointSlices) => break,
            _ => {}
        }
    }
    ensure!(kubernetes_slice);
    drop(changes);
    timeout(LIMIT, feed).await.context("the feed did not end with its reader")??;
    let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{binding}");
    cluster.client().delete(&path).await?;
    remove_node(&cluster, &name).await
}

async fn pod_watch_survives_a_restart_of_the_server(context: Arc<TestContext>) -> Result<()> {
    let (cluster, api, name) = registered(&context).await?;
    let namespace = context.namespace().await?;
    let mut watch = api.watch_pods();
    cluster.create(&pods::pause_pod(&namespace, "a", &name)).await?;
    while !matches!(next(&mut watch).await?, PodWatchEvent::Applied(_)) {}
    cluster.stop_api_server().await?;
    let away = api.get_pod(&namespace, "a").await;
    ensure!(matches!(away, Err(ApiError::Unavailable(_))), "{away:?}");
    cluster.start_api_server().await?;
    cluster.create(&pods::pause_pod(&namespace, "b", &name)).await?;
    let is_b = |pod: &api::Pod| pod.metadata.name.as_deref() == Some("b");
    while !matches!(next(&mut watch).await?, PodWatchEvent::Applied(pod) if is_b(&pod)) {}
    for pod in ["a", "b"] {
        cluster.client().force_delete(&pods::path(&namespace, pod)).await?;
    }
    remove_node(&cluster, &name).await
}

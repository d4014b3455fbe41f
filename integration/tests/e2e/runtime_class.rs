//! RuntimeClasses: which handler runs a pod, and what it costs.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::node::Node;
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::cgroups::hierarchy;

pub fn tests() -> Vec<Test> {
    integration::tests![
        class_chooses_the_handler_and_its_overhead_counts,
        pod_waits_for_a_class_that_is_gone_and_starts_when_it_is_back,
        handler_that_the_runtime_does_not_have_is_named,
        overhead_counts_when_the_node_has_no_room,
    ]
}

struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        Ok(Self {
            cluster: context.cluster().await?,
            node: context.shared_node().await?,
            namespace: context.namespace().await?,
        })
    }

    /// Makes a class of a name that no other test has; `more` is laid over it.
    async fn class(&self, handler: &str, more: Value) -> Result<Value> {
        let mut class = json!({
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": format!("{}-{handler}", self.namespace)},
            "handler": handler,
        });
        integration::agent_config::overlay(&mut class, &more);
        self.cluster.create(&class).await?;
        Ok(class)
    }

    fn pod(&self, name: &str, class: &Value) -> Value {
        let mut pod = pods::pause_pod(&self.namespace, name, self.node.name());
        pod["spec"]["runtimeClassName"] = class["metadata"]["name"].clone();
        pod
    }

    async fn delete_class(&self, class: &Value) -> Result<()> {
        let name = class["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("/apis/node.k8s.io/v1/runtimeclasses/{name}");
        self.cluster.client().delete(&path).await
    }

    /// Waits for an event `FailedCreatePodSandBox` about the pod whose message has this text.
    async fn wait_refused(&self, pod: &Value, text: &str) -> Result<()> {
        wait::until(&format!("event with {text:?}"), LIMIT, || async {
            let events = pods::events(&self.cluster, pod).await?;
            let told = |event: &Value| {
                event["reason"] == "FailedCreatePodSandBox"
                    && event["message"].as_str().is_some_and(|message| message.contains(text))
            };
            Ok(match events.iter().any(told) {
                true => Look::Met(()),
                false => Look::NotYet(format!("{events:?}")),
            })
        })
        .await
    }
}

/// The class plugin of the API server knows classes by a watch; it may not have heard of one yet.
pub(crate) async fn create_admitted(cluster: &Cluster, pod: &Value) -> Result<Value> {
    wait::until("the class is known to the API server", LIMIT, || async {
        match cluster.create(pod).await {
            Ok(pod) => Ok(Look::Met(pod)),
            Err(error) => Ok(Look::NotYet(format!("{error:#}"))),
        }
    })
    .await
}

async fn class_chooses_the_handler_and_its_overhead_counts(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let overhead = json!({"overhead": {"podFixed": {"cpu": "30m", "memory": "32Mi"}}});
    let class = fixture.class("second", overhead).await?;
    let mut pod = fixture.pod("a", &class);
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "50m", "memory": "64Mi"}});
    create_admitted(&fixture.cluster, &pod).await?;
    let path = pods::path(&fixture.namespace, "a");
    let pod = pods::wait_ready(&fixture.cluster, &path, LIMIT).await?;
    ensure!(pod["spec"]["overhead"]["memory"] == "32Mi", "{}", pod["spec"]);
    ensure!(pod["status"]["qosClass"] == "Guaranteed", "{}", pod["status"]);
    let uid = pods::uid(&pod)?;
    let cgroup = fixture.node.cgroup_root();
    let cgroup = format!("{}/kubepods/pod{uid}", cgroup.trim_start_matches('/'));
    let folder = hierarchy("memory")?.join(cgroup);
    let limit = std::fs::read_to_string(folder.join("memory.max"))
        .or_else(|_| std::fs::read_to_string(folder.join("memory.limit_in_bytes")))?;
    ensure!(limit.trim() == (96 * 1024 * 1024).to_string(), "limit of the pod: {limit}");
    // The runtime knows which of its handlers made the container.
    let id = pods::container_id(&pod, "pause")?;
    let container = fixture.node.runtime().ctr(&["containers", "info", &id]).await?;
    ensure!(container.contains(uid), "{container}");
    let node = fixture.cluster.get_json(&fixture.node.api_path()).await?;
    let handlers = node["status"]["runtimeHandlers"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = handlers.iter().map(|handler| handler["name"].clone()).collect();
    ensure!(names == ["", "old", "runc", "second"], "{handlers:?}");
    Ok(())
}

async fn pod_waits_for_a_class_that_is_gone_and_starts_when_it_is_back(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let class = fixture.class("second", json!({})).await?;
    let mut pod = fixture.pod("a", &class);
    // Bound only when the class is gone again.
    pod["spec"]["nodeName"].take();
    pod["spec"]["schedulerName"] = "nobody".into();
    let pod = create_admitted(&fixture.cluster, &pod).await?;
    fixture.delete_class(&class).await?;
    let path = pods::path(&fixture.namespace, "a");
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "a", "namespace": fixture.namespace},
        "target": {"apiVersion": "v1", "kind": "Node", "name": fixture.node.name()},
    });
    fixture.cluster.client().create_at(&format!("{path}/binding"), &binding).await?;
    let name = class["metadata"]["name"].as_str().unwrap_or_default();
    let expected = format!("runtimeclass.node.k8s.io \"{name}\" not found");
    fixture.wait_refused(&pod, &expected).await?;
    let waiting = pods::wait_for(&fixture.cluster, &path, LIMIT, |pod| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["message"].as_str().is_some_and(|message| message.contains(&expected))
    })
    .await;
    if !integration::node::peers_wanted() {
        waiting?;
    }
    fixture.cluster.create(&class).await?;
    pods::wait_ready(&fixture.cluster, &path, LIMIT).await?;
    Ok(())
}

async fn handler_that_the_runtime_does_not_have_is_named(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let class = fixture.class("nowhere", json!({})).await?;
    let pod = create_admitted(&fixture.cluster, &fixture.pod("a", &class)).await?;
    fixture.wait_refused(&pod, "no runtime for \"nowhere\" is configured").await
}

async fn overhead_counts_when_the_node_has_no_room(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let overhead = json!({"overhead": {"podFixed": {"cpu": "1000"}}});
    let class = fixture.class("second", overhead).await?;
    create_admitted(&fixture.cluster, &fixture.pod("a", &class)).await?;
    let path = pods::path(&fixture.namespace, "a");
    let pod =
        pods::wait_for(&fixture.cluster, &path, LIMIT, |pod| pod["status"]["phase"] == "Failed")
            .await?;
    ensure!(pod["status"]["reason"] == "OutOfcpu", "{}", pod["status"]);
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("cpu, requested: 1000000, used: "), "{message}");
    Ok(())
}

//! Pods that do not get on: their descriptions say why, and when it is tried again.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions, condition};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
/// A failed step is tried again after 10 to 15 s; two of those and some air.
const TWO_TRIES: Duration = Duration::from_secs(60);

pub fn tests() -> Vec<Test> {
    integration::tests![
        pod_without_its_objects_names_them_and_starts_when_they_appear,
        pod_whose_host_path_is_of_another_type_says_so_and_starts_when_it_is_right,
        pods_that_cannot_run_name_the_field_that_is_wrong,
        crash_looping_pod_names_its_last_exit_and_the_next_start,
        pod_whose_probe_fails_names_the_probe_its_error_and_its_period,
        pod_without_a_network_says_so_and_starts_when_it_works,
    ]
}

/// The tests' view of one stuck pod.
struct Stuck {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Stuck {
    async fn new(context: &TestContext) -> Result<Self> {
        let cluster = context.cluster().await?;
        let node = context.shared_node().await?;
        let namespace = context.namespace().await?;
        Ok(Self { cluster, node, namespace })
    }

    fn pod(&self, name: &str) -> Value {
        pods::script_pod(&self.namespace, name, self.node.name(), FOREVER)
    }

    fn path(&self, name: &str) -> String {
        pods::path(&self.namespace, name)
    }

    /// Waits until what `kubectl describe pod` prints has all these texts.
    async fn describe(&self, name: &str, texts: &[&str]) -> Result<()> {
        wait::until(&format!("description of {name}"), LIMIT, || async {
            let args = ["describe", "pod", "-n", &self.namespace, name];
            let found = self.cluster.kubectl(&args).await?;
            // Long messages are broken into lines.
            let line = found.split_whitespace().collect::<Vec<_>>().join(" ");
            let missing: Vec<_> = texts.iter().filter(|text| !line.contains(**text)).collect();
            Ok(match missing.is_empty() {
                true => Look::Met(()),
                false => Look::NotYet(format!("without {missing:?}: {found}")),
            })
        })
        .await
    }

    /// Waits until an event of this reason about the pod was counted twice or there are two.
    async fn wait_repeated(&self, pod: &Value, reason: &str) -> Result<()> {
        wait::until(&format!("second event {reason}"), TWO_TRIES, || async {
            let events = pods::events(&self.cluster, pod).await?;
            let of_reason = events.iter().filter(|event| event["reason"] == reason);
            let count: u64 = of_reason.filter_map(|event| event["count"].as_u64()).sum();
            Ok(if count >= 2 { Look::Met(()) } else { Look::NotYet(format!("{events:?}")) })
        })
        .await
    }

    /// Lines in the agent's log about the pod that have this text.
    fn log_lines(&self, name: &str, text: &str) -> Result<usize> {
        let log = self.node.agent()?.log_text();
        let pod = format!("{}/{name}", self.namespace);
        Ok(log.lines().filter(|line| line.contains(&pod) && line.contains(text)).count())
    }
}

fn waiting(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["waiting"]
}

fn config_map(namespace: &str, name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {key: "value"},
    })
}

fn variable(source: &str, name: &str, key: &str) -> Value {
    json!([{"name": "A", "valueFrom": {source: {"name": name, "key": key}}}])
}

async fn pod_without_its_objects_names_them_and_starts_when_they_appear(
    context: Arc<TestContext>,
) -> Result<()> {
    let stuck = Stuck::new(&context).await?;
    let (cluster, namespace) = (&stuck.cluster, &stuck.namespace);
    cluster.create(&config_map(namespace, "settings", "present")).await?;
    let mut env = stuck.pod("env");
    env["spec"]["containers"][0]["env"] = variable("configMapKeyRef", "absent", "a");
    let mut key = stuck.pod("key");
    key["spec"]["containers"][0]["env"] = variable("configMapKeyRef", "settings", "a");
    let mut secret = stuck.pod("secret");
    secret["spec"]["containers"][0]["env"] = variable("secretKeyRef", "hidden", "a");
    let mut volume = stuck.pod("volume");
    volume["spec"]["volumes"] = json!([{"name": "files", "configMap": {"name": "absent"}}]);
    volume["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "files", "mountPath": "/files"}]);
    let env = cluster.create(&env).await?;
    for pod in [&key, &secret, &volume] {
        cluster.create(pod).await?;
    }
    let again = "next try within 15s or when an object of the pod changes";
    let config_error = "Reason: CreateContainerConfigError";
    stuck.describe("env", &[config_error, "configmap \"absent\" not found", again]).await?;
    let text = format!("couldn't find key a in ConfigMap {namespace}/settings");
    stuck.describe("key", &[config_error, &text, again]).await?;
    stuck.describe("secret", &[config_error, "secret \"hidden\" not found", again]).await?;
    let text = "MountVolume.SetUp failed for volume \"files\" : configmap \"absent\" not found";
    let again = "next try within 10s or when an object of the pod changes";
    stuck.describe("volume", &["Reason: ContainerCreating", "FailedMount", text, again]).await?;

    stuck.wait_repeated(&env, "Failed").await?;
    let lines = stuck.log_lines("env", "cannot start the container")?;
    ensure!(lines == 1, "{lines} lines about a failure that stayed the same");
    let shown = cluster.get_json(&stuck.path("env")).await?;
    ensure!(waiting(&shown)["reason"] == "CreateContainerConfigError", "{}", shown["status"]);

    cluster.create(&config_map(namespace, "absent", "a")).await?;
    let settings = format!("/api/v1/namespaces/{namespace}/configmaps/settings");
    cluster.client().merge_patch(&settings, &json!({"data": {"a": "now"}})).await?;
    cluster
        .create(&json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hidden", "namespace": namespace},
            "stringData": {"a": "value"},
        }))
        .await?;
    for name in ["env", "key", "secret", "volume"] {
        pods::wait_ready(cluster, &stuck.path(name), LIMIT).await?;
    }
    Ok(())
}

async fn pod_whose_host_path_is_of_another_type_says_so_and_starts_when_it_is_right(
    context: Arc<TestContext>,
) -> Result<()> {
    let stuck = Stuck::new(&context).await?;
    let path = stuck.node.directory().join(format!("notes-{}", stuck.namespace));
    fs::write(&path, "a file")?;
    let mut pod = stuck.pod("a");
    pod["spec"]["volumes"] =
        json!([{"name": "notes", "hostPath": {"path": path, "type": "Directory"}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "notes", "mountPath": "/notes"}]);
    stuck.cluster.create(&pod).await?;
    let text = format!(
        "MountVolume.SetUp failed for volume \"notes\" : hostPath type check failed: {} is not a directory",
        path.display()
    );
    stuck.describe("a", &["FailedMount", &text, "next try within 10s"]).await?;
    fs::remove_file(&path)?;
    fs::create_dir(&path)?;
    pods::wait_ready(&stuck.cluster, &stuck.path("a"), LIMIT).await?;
    Ok(())
}

/// A name, a change of the container, and what its description must say.
type BadInput = (&'static str, Value, &'static [&'static str]);

async fn pods_that_cannot_run_name_the_field_that_is_wrong(
    context: Arc<TestContext>,
) -> Result<()> {
    let stuck = Stuck::new(&context).await?;
    let table: [BadInput; 7] = [
        (
            "image-name",
            json!({"image": "Upper/CASE:1:2"}),
            &["Reason: InvalidImageName", "couldn't parse image name \"Upper/CASE:1:2\""],
        ),
        (
            "root-image",
            json!({"securityContext": {"runAsNonRoot": true}}),
            &[
                "Reason: CreateContainerConfigError",
                "container has runAsNonRoot and image will run as root",
            ],
        ),
        (
            "root-user",
            json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 0}}),
            &["Reason: CreateContainerConfigError", "container's runAsUser breaks non-root policy"],
        ),
        (
            "probe-port",
            json!({"readinessProbe": {"httpGet": {"port": "wbe"}, "periodSeconds": 1}}),
            &["Readiness probe errored", "readinessProbe.httpGet.port", "no port named \"wbe\""],
        ),
        (
            "command",
            json!({"command": ["/no/such/program"]}),
            &["/no/such/program", "no such file or directory", "Reason: StartError"],
        ),
        (
            "mount-path",
            json!({"volumeMounts": [{"name": "empty", "mountPath": "/bin/busybox/below"}]}),
            &["/bin/busybox/below", "not a directory", "Reason: StartError"],
        ),
        (
            "working-directory",
            json!({"workingDir": "/bin/busybox"}),
            &["/bin/busybox", "not a directory", "Reason: StartError"],
        ),
    ];
    let mut created = Vec::new();
    for (name, change, _) in &table {
        let mut pod = stuck.pod(name);
        pod["spec"]["volumes"] = json!([{"name": "empty", "emptyDir": {}}]);
        for (field, value) in change.as_object().into_iter().flatten() {
            pod["spec"]["containers"][0][field] = value.clone();
        }
        created.push(stuck.cluster.create(&pod).await?);
    }
    for (name, _, texts) in &table {
        stuck.describe(name, texts).await.context(*name)?;
        let pod = stuck.cluster.get_json(&stuck.path(name)).await?;
        ensure!(pod["status"]["phase"] != "Failed", "{name}: {}", pod["status"]);
    }
    stuck.wait_repeated(&created[1], "Failed").await?;
    let lines = stuck.log_lines("root-image", "cannot start the container")?;
    ensure!(lines == 1, "{lines} lines about a failure that stayed the same");
    // A relative path starts at the root of the container, as it always did.
    let mut relative = stuck.pod("relative");
    relative["spec"]["volumes"] = json!([{"name": "empty", "emptyDir": {}}]);
    relative["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "empty", "mountPath": "data"}]);
    pods::run(&stuck.cluster, &relative, LIMIT).await?;
    Ok(())
}

async fn crash_looping_pod_names_its_last_exit_and_the_next_start(
    context: Arc<TestContext>,
) -> Result<()> {
    let stuck = Stuck::new(&context).await?;
    let pod = pods::script_pod(&stuck.namespace, "a", stuck.node.name(), "exit 3");
    stuck.cluster.create(&pod).await?;
    let texts = [
        "Reason: CrashLoopBackOff",
        "Exit Code: 3",
        "Back-off restarting failed container main in pod a_",
        "it ended with exit code 3 (Error), next start 10s after that",
    ];
    stuck.describe("a", &texts).await
}

async fn pod_whose_probe_fails_names_the_probe_its_error_and_its_period(
    context: Arc<TestContext>,
) -> Result<()> {
    let stuck = Stuck::new(&context).await?;
    let mut pod = stuck.pod("a");
    pod["spec"]["containers"][0]["readinessProbe"] =
        json!({"tcpSocket": {"port": 81}, "periodSeconds": 2});
    stuck.cluster.create(&pod).await?;
    let texts = [
        "Readiness: tcp-socket :81 delay=0s timeout=1s period=2s",
        "Unhealthy",
        "Readiness probe failed:",
        "connection refused",
        "Ready: False",
    ];
    stuck.describe("a", &texts).await?;
    // Among many pods the status may come later than the event.
    let pod = pods::wait_for(&stuck.cluster, &stuck.path("a"), LIMIT, |pod| {
        pods::container_status(pod, "main").is_ok_and(|main| main["started"] == true)
    })
    .await?;
    let ready = condition(&pod, "Ready").context("no Ready")?;
    ensure!(ready["message"] == "containers with unready status: [main]", "{ready}");
    ensure!(pods::container_status(&pod, "main")?["ready"] == false, "{}", pod["status"]);
    Ok(())
}

async fn pod_without_a_network_says_so_and_starts_when_it_works(
    context: Arc<TestContext>,
) -> Result<()> {
    let node = context.node(NodeOptions::default()).await?;
    let stuck = Stuck { node, ..Stuck::new(&context).await? };
    let api = stuck.cluster.get_json(&stuck.node.api_path()).await?;
    let ranges: Vec<String> = serde_json::from_value(api["spec"]["podCIDRs"].clone())?;
    // A range that has no address left is found out only when a pod wants one.
    let first = ranges[0].split('/').next().context("range of addresses")?;
    let runtime = stuck.node.runtime();
    runtime.configure_cni(&[format!("{first}/32")])?;
    // A running one takes the change in some time later, and does not say when.
    runtime.kill().await?;
    runtime.start_again().await?;
    let pod = stuck.cluster.create(&stuck.pod("a")).await?;
    let texts = [
        "Reason: ContainerCreating",
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox:",
        "next try within 15s",
    ];
    stuck.describe("a", &texts).await?;
    stuck.wait_repeated(&pod, "FailedCreatePodSandBox").await?;
    let lines = stuck.log_lines("a", "cannot make the pod's sandbox")?;
    ensure!(lines == 1, "{lines} lines about a failure that stayed the same");
    stuck.node.runtime().configure_cni(&ranges[..1])?;
    pods::wait_ready(&stuck.cluster, &stuck.path("a"), LIMIT).await?;
    Ok(())
}

//! Pods from manifests of the node, and their mirror pods in the API.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::agent_process::AgentProcess;
use integration::daemon::{Daemon, Program};
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

const MIRROR: &str = "kubernetes.io/config.mirror";
const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

pub fn tests() -> Vec<Test> {
    integration::tests![
        static_pod_comes_changes_and_goes_with_its_manifest,
        mirror_pod_that_is_deleted_comes_back_and_the_pod_runs_on,
        refused_manifest_leaves_the_other_pods_alone,
        pods_are_read_from_a_url,
        standalone_node_runs_pods_without_an_api_server;
        alone: static_pods_start_while_the_api_server_is_away,
    ]
}

/// A node of the test's own and the namespace of its static pods.
struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Fixture {
    async fn new(context: &TestContext, options: NodeOptions) -> Result<Self> {
        let cluster = context.cluster().await?;
        let namespace = context.namespace().await?;
        let node = context.node(options).await?;
        Ok(Self { cluster, node, namespace })
    }

    /// A manifest of a pod that runs `script` on the host's network.
    fn manifest(&self, name: &str, script: &str) -> Value {
        manifest(&self.namespace, name, script)
    }

    fn write(&self, name: &str, manifest: &Value) -> Result<()> {
        write(&self.node, name, manifest)
    }

    /// API path of the mirror pod.
    fn path(&self, name: &str) -> String {
        pods::path(&self.namespace, &format!("{name}-{}", self.node.name()))
    }

    async fn ready(&self, name: &str) -> Result<Value> {
        wait::until(name, LIMIT, || async {
            let Some(pod) = self.cluster.client().find(&self.path(name)).await? else {
                return Ok(Look::NotYet("no mirror pod".to_owned()));
            };
            let ready = pod["status"]["phase"] == "Running" && pods::is_ready(&pod);
            Ok(if ready { Look::Met(pod) } else { Look::NotYet(pod["status"].to_string()) })
        })
        .await
    }
}

fn manifest(namespace: &str, name: &str, script: &str) -> Value {
    let mut manifest = pods::script_pod(namespace, name, "", script);
    if let Some(spec) = manifest["spec"].as_object_mut() {
        spec.remove("nodeName");
        spec.insert("hostNetwork".to_owned(), true.into());
    }
    manifest
}

fn write(node: &Node, name: &str, manifest: &Value) -> Result<()> {
    // Written aside and moved, as careful tools do.
    let aside = node.manifests().join(format!(".{name}"));
    fs::write(&aside, serde_json::to_string_pretty(manifest)?)?;
    Ok(fs::rename(aside, node.manifests().join(format!("{name}.yaml")))?)
}

fn hash(mirror: &Value) -> Result<&str> {
    mirror["metadata"]["annotations"][MIRROR].as_str().context("it is no mirror pod")
}

async fn static_pod_comes_changes_and_goes_with_its_manifest(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context, NodeOptions::default()).await?;
    let mut manifest = fixture.manifest("web", FOREVER);
    fixture.write("web", &manifest)?;
    let first = fixture.ready("web").await?;
    let annotations = &first["metadata"]["annotations"];
    ensure!(annotations["kubernetes.io/config.source"] == "file", "{annotations}");
    ensure!(annotations["kubernetes.io/config.hash"] == annotations[MIRROR], "{annotations}");
    ensure!(annotations["kubernetes.io/config.seen"].is_string(), "{annotations}");
    let owner = &first["metadata"]["ownerReferences"][0];
    ensure!(owner["kind"] == "Node" && owner["name"] == fixture.node.name(), "{owner}");
    let tolerations = &first["spec"]["tolerations"];
    ensure!(
        tolerations[0] == json!({"operator": "Exists", "effect": "NoExecute"}),
        "{tolerations}"
    );
    // Events are about the static pod, whose UID is the hash; kubectl looks for that too.
    let event_uid = json!({"metadata": {"namespace": fixture.namespace, "uid": hash(&first)?}});
    pods::wait_events(&fixture.cluster, &event_uid, &["Created", "Started"], LIMIT).await?;

    manifest["spec"]["containers"][0]["env"] = json!([{"name": "VERSION", "value": "2"}]);
    fixture.write("web", &manifest)?;
    let path = fixture.path("web");
    let second = wait::until("pod of the new manifest", LIMIT, || async {
        let pod = fixture.cluster.client().find(&path).await?.unwrap_or_default();
        let renewed = hash(&pod).is_ok_and(|new| Some(new) != hash(&first).ok());
        Ok(match renewed && pods::is_ready(&pod) {
            true => Look::Met(pod),
            false => Look::NotYet(pod["status"].to_string()),
        })
    })
    .await?;
    let before = pods::container_id(&first, "main")?;
    ensure!(pods::container_id(&second, "main")? != before, "the container is the old one");
    ensure!(second["spec"]["containers"][0]["env"][0]["value"] == "2");

    fs::remove_file(fixture.node.manifests().join("web.yaml"))?;
    pods::wait_gone(&fixture.cluster, &path, LIMIT).await?;
    wait_for_tasks(&fixture.node, 0).await
}

/// Waits until just so many containers run, sandboxes included.
async fn wait_for_tasks(node: &Node, count: usize) -> Result<()> {
    wait::until("running containers", LIMIT, || async {
        let tasks = node.runtime().ctr(&["task", "list"]).await?;
        let running = tasks.lines().filter(|line| line.contains("RUNNING")).count();
        Ok(if running == count { Look::Met(()) } else { Look::NotYet(tasks) })
    })
    .await
}

async fn mirror_pod_that_is_deleted_comes_back_and_the_pod_runs_on(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context, NodeOptions::default()).await?;
    fixture.write("web", &fixture.manifest("web", FOREVER))?;
    let mut known = fixture.ready("web").await?;
    let container = pods::container_id(&known, "main")?;
    let started = known["status"]["startTime"].clone();
    let path = fixture.path("web");
    for forced in [false, true] {
        match forced {
            true => fixture.cluster.client().force_delete(&path).await?,
            false => fixture.cluster.client().delete(&path).await?,
        }
        let next = wait::until("next mirror pod", LIMIT, || async {
            let pod = fixture.cluster.client().find(&path).await?.unwrap_or_default();
            let is_next = pod["metadata"]["uid"].is_string()
                && pod["metadata"]["uid"] != known["metadata"]["uid"];
            Ok(match is_next && pods::is_ready(&pod) {
                true => Look::Met(pod),
                false => Look::NotYet(pod.to_string()),
            })
        })
        .await?;
        let status = pods::container_status(&next, "main")?;
        ensure!(pods::container_id(&next, "main")? == container, "{status}");
        ensure!(status["restartCount"] == 0, "{status}");
        known = next;
    }
    // A restart of the agent changes nothing of it either.
    fixture.node.agent()?.restart().await?;
    fixture.node.wait_ready(LIMIT).await?;
    let after = fixture.ready("web").await?;
    ensure!(after["metadata"]["uid"] == known["metadata"]["uid"], "another mirror pod");
    ensure!(pods::container_id(&after, "main")? == container, "{}", after["status"]);
    ensure!(after["status"]["startTime"] == started, "{}", after["status"]);
    Ok(())
}

async fn refused_manifest_leaves_the_other_pods_alone(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, NodeOptions::default()).await?;
    fixture.write("good", &fixture.manifest("good", FOREVER))?;
    let good = fixture.ready("good").await?;
    let mut refused = fixture.manifest("bad", FOREVER);
    refused["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "x"}}]);
    fixture.write("bad", &refused)?;
    fs::write(fixture.node.manifests().join("torn.yaml"), "kind: [")?;
    if !peers_wanted() {
        // The log names file and field.
        let expected = ["bad.yaml", "spec.containers[0].envFrom[0].secretRef", "torn.yaml"];
        wait::until("refusals in the log", LIMIT, || async {
            let log = fixture.node.agent()?.log_text();
            let missing: Vec<_> = expected.iter().filter(|text| !log.contains(**text)).collect();
            Ok(match missing.is_empty() {
                true => Look::Met(()),
                false => Look::NotYet(format!("missing {missing:?}")),
            })
        })
        .await?;
    }
    // Mended, it runs.
    fixture.write("bad", &fixture.manifest("bad", FOREVER))?;
    fixture.ready("bad").await?;
    if !peers_wanted() {
        // Spoilt, the pod that runs goes on.
        fs::write(fixture.node.manifests().join("good.yaml"), "kind: Pod\napiVersion: v1\n")?;
        wait::until("second refusal in the log", LIMIT, || async {
            let log = fixture.node.agent()?.log_text();
            let told = log.contains("last good version goes on");
            Ok(if told { Look::Met(()) } else { Look::NotYet("not told".to_owned()) })
        })
        .await?;
    }
    let after = fixture.ready("good").await?;
    ensure!(pods::container_id(&after, "main")? == pods::container_id(&good, "main")?);
    Ok(())
}

/// Port of a web server in the node's own network.
const WEB: &str = "127.0.0.1:8088";

/// Serves the node's folder `www` to the node itself.
fn serve(node: &Node) -> Result<Daemon> {
    let folder = node.directory().join("www");
    Program::new("/bin/busybox", node.directory().join("httpd.log"))
        .args(["httpd", "-f", "-p", WEB, "-h"])
        .args([folder])
        .inside(Arc::clone(node.namespaces()))
        .start()
}

async fn pods_are_read_from_a_url(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let namespace = context.namespace().await?;
    let options = NodeOptions {
        kubelet_config: json!({
            "staticPodURL": format!("http://{WEB}/pods.json"),
            "httpCheckFrequency": "1s",
        }),
        ..NodeOptions::default()
    };
    let node = context.bare_node(options).await?;
    let file = node.directory().join("www/pods.json");
    fs::create_dir_all(node.directory().join("www"))?;
    let list = |names: &[&str]| {
        let items: Vec<Value> =
            names.iter().map(|name| manifest(&namespace, name, FOREVER)).collect();
        json!({"apiVersion": "v1", "kind": "PodList", "items": items}).to_string()
    };
    fs::write(&file, list(&["one", "two"]))?;
    let server = serve(&node)?;
    node.start_agent()?;
    node.join().await?;
    let fixture = Fixture { cluster, node, namespace: namespace.clone() };
    let one = fixture.ready("one").await?;
    ensure!(one["metadata"]["annotations"]["kubernetes.io/config.source"] == "http");
    fixture.ready("two").await?;
    fs::write(&file, list(&["two"]))?;
    pods::wait_gone(&fixture.cluster, &fixture.path("one"), LIMIT).await?;
    fixture.ready("two").await?;
    server.kill().await?;
    Ok(())
}

async fn standalone_node_runs_pods_without_an_api_server(context: Arc<TestContext>) -> Result<()> {
    let options = NodeOptions::default();
    let node = context.bare_node(options).await?;
    let notes = node.directory().join("notes");
    fs::create_dir_all(&notes)?;
    let mut pod = manifest("default", "alone", &format!("echo up >> /notes/n; {FOREVER}"));
    pod["spec"]["volumes"] = json!([{"name": "notes", "hostPath": {"path": notes}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "notes", "mountPath": "/notes"}]);
    write(&node, "alone", &pod)?;
    let agent = node.start_as(AgentProcess::standalone(&node)?)?;
    let lines = || async {
        agent.expect_running()?;
        Ok(fs::read_to_string(notes.join("n")).unwrap_or_default().lines().count())
    };
    wait::until_value("start of the pod", LIMIT, lines, |lines| *lines == 1).await?;
    if !peers_wanted() {
        wait::until("event in the log", LIMIT, || async {
            let log = agent.log_text();
            let told = log.contains("reason=\"Started\"");
            Ok(if told { Look::Met(()) } else { Look::NotYet(agent.tail(5)) })
        })
        .await?;
    }
    agent.restart().await?;
    fs::remove_file(node.manifests().join("alone.yaml"))?;
    wait_for_tasks(&node, 0).await?;
    ensure!(lines().await? == 1, "it was started again");
    let found = context.cluster().await?.client().find(&node.api_path()).await?;
    ensure!(found.is_none(), "a standalone node registered itself");
    Ok(())
}

async fn static_pods_start_while_the_api_server_is_away(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, NodeOptions::default()).await?;
    let plain = pods::script_pod(&fixture.namespace, "plain", fixture.node.name(), FOREVER);
    let plain = pods::run(&fixture.cluster, &plain, LIMIT).await?;
    let agent = fixture.node.agent()?;
    agent.stop().await?;
    fixture.cluster.stop_api_server().await?;
    agent.start()?;
    fixture.write("web", &fixture.manifest("web", FOREVER))?;
    // The pod of the API and the static one, each with its sandbox.
    wait_for_tasks(&fixture.node, 4).await?;
    fixture.cluster.start_api_server().await?;
    fixture.ready("web").await?;
    let path = pods::path(&fixture.namespace, "plain");
    let after = pods::wait_ready(&fixture.cluster, &path, LIMIT).await?;
    ensure!(pods::container_id(&after, "main")? == pods::container_id(&plain, "main")?);
    let status = pods::container_status(&after, "main")?;
    ensure!(status["restartCount"] == 0, "{status}");
    Ok(())
}

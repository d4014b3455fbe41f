//! Parts of volumes: what a container sees of them, what is refused, and what stays afterwards.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
/// A container whose config cannot be made is tried again after 10 to 15 s.
const MENDED: std::time::Duration = std::time::Duration::from_secs(90);

pub fn tests() -> Vec<Test> {
    integration::tests![
        parts_are_what_the_container_gets,
        part_of_a_config_map_stays_until_the_container_starts_again,
        expressions_that_lead_elsewhere_say_so_and_start_once_mended,
        links_that_stay_inside_are_followed_and_others_refused,
        parts_outlive_the_agent_and_go_with_the_pod,
    ]
}

struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Fixture {
    async fn new(context: &TestContext, node: Arc<Node>) -> Result<Self> {
        let cluster = context.cluster().await?;
        Ok(Self { cluster, node, namespace: context.namespace().await? })
    }

    fn path(&self, name: &str) -> String {
        pods::path(&self.namespace, name)
    }

    /// A pod whose container `main` waits, with these mounts.
    fn pod(&self, name: &str, mounts: Value, volumes: Value) -> Value {
        let mut pod = pods::script_pod(&self.namespace, name, self.node.name(), FOREVER);
        pod["spec"]["volumes"] = volumes;
        pod["spec"]["containers"][0]["volumeMounts"] = mounts;
        pod
    }

    /// A directory of the host with a file `own`.
    fn host(&self, name: &str) -> Result<PathBuf> {
        let host = self.node.directory().join(format!("{name}-{}", self.namespace));
        fs::create_dir_all(&host)?;
        fs::write(host.join("own"), "own")?;
        Ok(host)
    }

    /// What a command prints in the container `main` of a pod.
    async fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let mut args = vec!["exec", "-n", &self.namespace, pod, "-c", "main", "--"];
        args.extend(command);
        self.cluster.kubectl(&args).await
    }

    /// Waits until the container `main` waits with this text in its message.
    async fn wait_refused(&self, name: &str, message: &str) -> Result<Value> {
        pods::wait_for(&self.cluster, &self.path(name), LIMIT, |pod| {
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            waiting["reason"] == "CreateContainerConfigError"
                && waiting["message"].as_str().is_some_and(|text| text.contains(message))
        })
        .await
    }

    fn mounts_of(&self, what: &str) -> Result<Vec<String>> {
        let table = self.node.namespaces().run(|| Ok(fs::read_to_string("/proc/1/mountinfo")?))?;
        Ok(table.lines().filter(|line| line.contains(what)).map(str::to_owned).collect())
    }
}

async fn parts_are_what_the_container_gets(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, context.shared_node().await?).await?;
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"conf": "green", "other": "x"},
        "metadata": {"name": "settings", "namespace": fixture.namespace},
    });
    fixture.cluster.create(&settings).await?;
    let mut pod = services::server_pod(&fixture.namespace, "a", fixture.node.name(), "a");
    pod["spec"]["securityContext"] = json!({"fsGroup": 2345});
    pod["spec"]["volumes"] = json!([
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "settings", "configMap": {"name": "settings"}},
    ]);
    let container = &mut pod["spec"]["containers"][0];
    container["env"] = json!([
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]);
    container["volumeMounts"] = json!([
        {"name": "disk", "mountPath": "/whole"},
        {"name": "disk", "mountPath": "/logs", "subPathExpr": "logs/$(POD)"},
        {"name": "disk", "mountPath": "/frozen", "subPath": "logs", "readOnly": true},
        {"name": "memory", "mountPath": "/memory", "subPath": "a/b/c"},
        {"name": "settings", "mountPath": "/etc/app.conf", "subPath": "conf"},
    ]);
    let pod = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let shell = |command: &'static str| in_pod::shell(&pod, command);
    shell("echo line > /logs/f; echo m > /memory/f").await?;
    ensure!(shell("cat /whole/logs/a/f /frozen/a/f").await? == "line\nline\n");
    let made = shell("stat -c '%a %g' /whole/logs /whole/logs/a /logs").await?;
    let whole = shell("stat -c '%a %g' /whole").await?;
    ensure!(made == whole.repeat(3), "{made} instead of {whole}");
    ensure!(shell("touch /frozen/new").await.is_err(), "a read-only part can be written to");
    ensure!(shell("cat /etc/app.conf").await? == "green");
    ensure!(shell("ls /memory").await? == "f\n", "more than the part is seen");
    let mounts = shell("cat /proc/mounts").await?;
    let memory = mounts.lines().find(|line| line.contains(" /memory "));
    ensure!(memory.is_some_and(|line| line.starts_with("tmpfs ")), "{mounts}");
    Ok(())
}

async fn part_of_a_config_map_stays_until_the_container_starts_again(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context, context.shared_node().await?).await?;
    let settings = |color: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"color": color},
            "metadata": {"name": "settings", "namespace": fixture.namespace},
        })
    };
    fixture.cluster.create(&settings("green")).await?;
    let script = "cat /part >> /disk/seen; until test -e /disk/end; do sleep 0.1; done; \
                  cat /part >> /disk/seen; rm /disk/end";
    let mut pod = pods::script_pod(&fixture.namespace, "a", fixture.node.name(), script);
    pod["spec"]["volumes"] = json!([
        {"name": "disk", "emptyDir": {}},
        {"name": "settings", "configMap": {"name": "settings"}},
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "disk", "mountPath": "/disk"},
        {"name": "settings", "mountPath": "/all"},
        {"name": "settings", "mountPath": "/part", "subPath": "color"},
    ]);
    pods::run(&fixture.cluster, &pod, LIMIT).await?;
    fixture
        .cluster
        .kubectl_with_input(&["apply", "-f", "-"], &settings("red!").to_string())
        .await?;
    wait::until("the new colour in the volume", MENDED, || async {
        let found = fixture.exec("a", &["cat", "/all/color"]).await?;
        Ok(if found == "red!" { Look::Met(()) } else { Look::NotYet(found) })
    })
    .await?;
    fixture.exec("a", &["touch", "/disk/end"]).await?;
    let expected = "greengreenred!";
    wait::until("the new colour after a restart", MENDED, || async {
        Ok(match fixture.exec("a", &["cat", "/disk/seen"]).await {
            Ok(found) if found == expected => Look::Met(()),
            Ok(found) => Look::NotYet(found),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
}

async fn expressions_that_lead_elsewhere_say_so_and_start_once_mended(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context, context.shared_node().await?).await?;
    let cases = [
        ("up", "..", "unable to provision SubPath `..`: must not contain '..'"),
        ("root", "/etc", "error SubPath `/etc` must not be an absolute path"),
        ("empty", "", "missing value for PART"),
    ];
    let checks = cases.into_iter().map(|(name, value, message)| {
        let fixture = &fixture;
        async move {
            let mut pod = fixture.pod(
                name,
                json!([{"name": "disk", "mountPath": "/part", "subPathExpr": "$(PART)"},
                    {"name": "disk", "mountPath": "/disk"}]),
                json!([{"name": "disk", "emptyDir": {}}]),
            );
            pod["metadata"]["annotations"] = json!({"noded.test/part": value});
            let field =
                json!({"fieldRef": {"fieldPath": "metadata.annotations['noded.test/part']"}});
            pod["spec"]["containers"][0]["env"] = json!([{"name": "PART", "valueFrom": field}]);
            fixture.cluster.create(&pod).await?;
            let waiting = fixture.wait_refused(name, message).await?;
            let events = pods::wait_events(&fixture.cluster, &waiting, &["Failed"], LIMIT).await?;
            ensure!(
                events.iter().any(|event| event["message"]
                    .as_str()
                    .is_some_and(|text| text.contains(message))),
                "{name}: {events:?}"
            );
            let part = "noded.test/part=mended";
            let args = ["annotate", "--overwrite", "pod", "-n", &fixture.namespace, name, part];
            fixture.cluster.kubectl(&args).await?;
            pods::wait_ready(&fixture.cluster, &fixture.path(name), MENDED).await?;
            let found = fixture.exec(name, &["ls", "/disk"]).await?;
            ensure!(found == "mended\n", "{name}: {found}");
            Ok(())
        }
    });
    futures::future::try_join_all(checks).await.map(drop)
}

async fn links_that_stay_inside_are_followed_and_others_refused(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context, context.shared_node().await?).await?;
    let host = fixture.host("links")?;
    fs::create_dir_all(host.join("real/deep"))?;
    fs::write(host.join("real/deep/f"), "deep")?;
    symlink("real/deep", host.join("in"))?;
    symlink("/etc", host.join("out"))?;
    symlink("../..", host.join("real/up"))?;
    let volumes = json!([{"name": "host", "hostPath": {"path": host, "type": "Directory"}}]);
    let part = |path: &str| json!([{"name": "host", "mountPath": "/part", "subPath": path}]);
    let good = fixture.pod("good", part("in"), volumes.clone());
    fixture.cluster.create(&good).await?;
    for (name, path) in
        [("out", "out"), ("file", "out/passwd"), ("up", "real/up"), ("new", "out/x")]
    {
        fixture.cluster.create(&fixture.pod(name, part(path), volumes.clone())).await?;
    }
    let refused = "failed to prepare subPath for volumeMount \"host\" of container \"main\"";
    for name in ["out", "file", "up", "new"] {
        let pod = fixture.wait_refused(name, refused).await?;
        let text = pod["status"].to_string();
        ensure!(!text.contains("/etc") && !text.contains("passwd"), "{name} tells: {text}");
    }
    pods::wait_ready(&fixture.cluster, &fixture.path("good"), LIMIT).await?;
    ensure!(fixture.exec("good", &["cat", "/part/f"]).await? == "deep");
    // Mended on the host, it starts by itself.
    fs::remove_file(host.join("out"))?;
    fs::create_dir(host.join("out"))?;
    fs::write(host.join("out/passwd"), "own")?;
    pods::wait_ready(&fixture.cluster, &fixture.path("file"), MENDED).await?;
    ensure!(fixture.exec("file", &["cat", "/part"]).await? == "own");
    Ok(())
}

async fn parts_outlive_the_agent_and_go_with_the_pod(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, context.node(NodeOptions::default()).await?).await?;
    let host = fixture.host("kept")?;
    fs::create_dir_all(host.join("logs"))?;
    fs::write(host.join("logs/old"), "old")?;
    let mut pod = fixture.pod(
        "a",
        json!([
            {"name": "memory", "mountPath": "/memory", "subPath": "m"},
            {"name": "host", "mountPath": "/logs", "subPath": "logs"},
            {"name": "host", "mountPath": "/own", "subPath": "own"},
        ]),
        json!([
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
            {"name": "host", "hostPath": {"path": host}},
        ]),
    );
    let script = "echo run >> /logs/runs; echo x > /memory/f; \
                  until test -e /logs/end; do sleep 0.1; done; rm /logs/end";
    pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", script]);
    let pod = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let uid = pods::uid(&pod)?;
    let parts = format!("{uid}/volume-subpaths");
    let before = fixture.mounts_of(&parts)?;
    ensure!(before.len() == 3, "{before:?}");

    let agent = fixture.node.agent()?;
    agent.kill9().await?;
    agent.start()?;
    fixture.node.wait_ready(LIMIT).await?;
    // The next run of the container is the new agent's work.
    fs::write(host.join("logs/end"), "")?;
    wait::until("the second run", MENDED, || async {
        let runs = fs::read_to_string(host.join("logs/runs"))?;
        Ok(if runs == "run\nrun\n" { Look::Met(()) } else { Look::NotYet(runs) })
    })
    .await?;
    let after = fixture.mounts_of(&parts)?;
    ensure!(after == before, "{before:#?} became {after:#?}");

    let path = fixture.path("a");
    fixture.cluster.client().delete(&path).await.context("delete")?;
    pods::wait_gone(&fixture.cluster, &path, LIMIT).await?;
    wait::until("nothing of the pod", LIMIT, || async {
        let mut left = fixture.mounts_of(uid)?;
        let folder = fixture.node.root_directory().join("pods").join(uid);
        left.extend(folder.exists().then(|| folder.display().to_string()));
        Ok(if left.is_empty() { Look::Met(()) } else { Look::NotYet(format!("{left:?}")) })
    })
    .await?;
    ensure!(fs::read_to_string(host.join("logs/old"))? == "old");
    ensure!(fs::read_to_string(host.join("own"))? == "own");
    ensure!(fs::read_to_string(host.join("logs/runs"))? == "run\nrun\n");
    Ok(())
}

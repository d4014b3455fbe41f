//! Pods whose users are none of the node's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        root_of_a_pod_is_nobody_on_the_node_and_owns_its_files,
        ids_stay_over_a_restart_and_are_given_back_with_the_pod,
        proc_is_unmasked_where_the_users_are_the_pods_own,
        handler_that_cannot_is_named,
    ]
}

struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Fixture {
    async fn on(context: &TestContext, node: Arc<Node>) -> Result<Self> {
        let (cluster, namespace) = (context.cluster().await?, context.namespace().await?);
        Ok(Self { cluster, node, namespace })
    }

    /// A pod with users of its own that takes commands.
    fn pod(&self, name: &str) -> Value {
        let mut pod = services::server_pod(&self.namespace, name, self.node.name(), name);
        pod["spec"]["hostUsers"] = false.into();
        pod
    }

    async fn run(&self, pod: &Value) -> Result<Value> {
        pods::run(&self.cluster, pod, LIMIT).await
    }

    /// First id on the node and number of ids, which are the same for users and groups.
    async fn ids(&self, pod: &Value) -> Result<(u32, u32)> {
        let maps = in_pod::shell(pod, "cat /proc/self/uid_map /proc/self/gid_map").await?;
        let lines: Vec<&str> = maps.lines().map(str::trim).collect();
        ensure!(lines.len() == 2 && lines[0] == lines[1], "{maps}");
        let numbers: Vec<u32> =
            lines[0].split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [inside, outside, length] = numbers[..] else { anyhow::bail!("{maps}") };
        ensure!(inside == 0 && outside >= 65_536, "{maps}");
        Ok((outside, length))
    }

    fn file(&self, pod: &Value) -> Result<std::path::PathBuf> {
        Ok(self.node.root_directory().join("pods").join(pods::uid(pod)?).join("userns"))
    }
}

async fn root_of_a_pod_is_nobody_on_the_node_and_owns_its_files(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::on(&context, context.shared_node().await?).await?;
    let shared = fixture.node.directory().join(format!("users-{}", fixture.namespace));
    fs::create_dir_all(&shared)?;
    fs::write(shared.join("from-node"), "from the node")?;
    let settings = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": fixture.namespace},
        "data": {"key": "value"},
    });
    fixture.cluster.create(&settings).await?;
    let mut pod = fixture.pod("a");
    pod["spec"]["securityContext"] = json!({"fsGroup": 3456});
    pod["spec"]["volumes"] = json!([
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "settings", "configMap": {"name": "settings", "defaultMode": 0o400}},
        {"name": "host", "hostPath": {"path": shared, "type": "Directory"}},
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "disk", "mountPath": "/disk"},
        {"name": "memory", "mountPath": "/memory"},
        {"name": "settings", "mountPath": "/settings"},
        {"name": "host", "mountPath": "/host"},
    ]);
    let plain = fixture.pod("b");
    let (pod, plain) = futures::try_join!(fixture.run(&pod), fixture.run(&plain))?;
    let (ids, others) = (fixture.ids(&pod).await?, fixture.ids(&plain).await?);
    ensure!(ids.1 == 65_536 && others.1 == 65_536 && ids.0 != others.0, "{ids:?} {others:?}");
    let recorded = fs::read_to_string(fixture.file(&pod)?)?;
    let recorded: Value = serde_json::from_str(&recorded)?;
    let expected = json!([{"hostId": ids.0, "containerId": 0, "length": ids.1}]);
    ensure!(recorded == json!({"uidMappings": expected, "gidMappings": expected}), "{recorded}");

    ensure!(in_pod::shell(&pod, "id -u").await? == "0\n");
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    for (command, expected) in [
        ("cat /settings/key", "value"),
        ("stat -L -c '%u %g' /settings/key", "0 3456\n"),
        ("stat -c %u /etc/hosts /dev/termination-log /disk /memory /host", "0\n0\n0\n0\n0\n"),
        ("stat -c %g /disk", "3456\n"),
        ("touch /disk/new /memory/new && stat -c '%u %g' /disk/new", "0 3456\n"),
        ("cat /host/from-node", "from the node"),
        ("stat -c %u /host/from-node", "0\n"),
        ("echo words > /dev/termination-log && echo '# more' >> /etc/hosts && echo yes", "yes\n"),
        ("echo from the pod > /host/from-pod && echo yes", "yes\n"),
    ] {
        let found = in_pod::shell(&pod, command).await?;
        ensure!(found == expected, "{command}: {found}");
    }
    ensure!(!in_pod::shell(&pod, &format!("cat {token}")).await?.is_empty());
    // On the node the files are root's, the processes are not.
    let written = fs::metadata(shared.join("from-pod"))?;
    ensure!((written.uid(), written.gid()) == (0, 0), "{written:?}");
    let node = fixture.cluster.get_json(&fixture.node.api_path()).await?;
    let handlers = node["status"]["runtimeHandlers"].as_array().cloned().unwrap_or_default();
    for (name, can) in [("", true), ("second", true), ("old", false)] {
        let handler = handlers.iter().find(|handler| handler["name"] == name);
        let handler = handler.with_context(|| format!("no handler {name:?}: {handlers:?}"))?;
        ensure!(handler["features"]["userNamespaces"] == can, "{handler}");
    }
    Ok(())
}

async fn ids_stay_over_a_restart_and_are_given_back_with_the_pod(
    context: Arc<TestContext>,
) -> Result<()> {
    let options = NodeOptions {
        kubelet_config: json!({"userNamespaces": {"idsPerPod": 131_072}}),
        ..NodeOptions::default()
    };
    let node = context.node(options).await?;
    let fixture = Fixture::on(&context, Arc::clone(&node)).await?;
    let pod = fixture.run(&fixture.pod("a")).await?;
    let before = fixture.ids(&pod).await?;
    ensure!(before.1 == 131_072 && before.0 % 131_072 == 0, "{before:?}");

    node.agent()?.kill9().await?;
    node.agent()?.start()?;
    let second = fixture.run(&fixture.pod("b")).await?;
    let ids = fixture.ids(&second).await?;
    ensure!(ids.0.abs_diff(before.0) >= 131_072, "{before:?} {ids:?}");
    // A container that is made by the new process gets the pod's old ids.
    let id = pods::container_id(&pod, "server")?;
    node.runtime().ctr(&["tasks", "kill", "--signal", "SIGKILL", &id]).await?;
    let path = pods::path(&fixture.namespace, "a");
    let restarted = pods::wait_for(&fixture.cluster, &path, LIMIT, |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["ready"] == true
    })
    .await?;
    ensure!(fixture.ids(&restarted).await? == before, "{before:?}");

    let file = fixture.file(&pod)?;
    ensure!(file.exists(), "{} is missing", file.display());
    fixture.cluster.client().delete(&path).await?;
    pods::wait_gone(&fixture.cluster, &path, LIMIT).await?;
    wait::until("the ids are given back", LIMIT, || async {
        Ok(if file.exists() { Look::NotYet(file.display().to_string()) } else { Look::Met(()) })
    })
    .await?;
    ensure!(fixture.ids(&second).await? == ids, "{ids:?}");
    Ok(())
}

async fn proc_is_unmasked_where_the_users_are_the_pods_own(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::on(&context, context.shared_node().await?).await?;
    let mut pod = fixture.pod("a");
    pod["spec"]["containers"][0]["securityContext"] = json!({"procMount": "Unmasked"});
    let pod = fixture.run(&pod).await?;
    let mounts = in_pod::shell(&pod, "cat /proc/self/mountinfo").await?;
    for path in ["/proc/kcore", "/proc/sys", "/proc/keys"] {
        let is_mount = mounts.lines().any(|line| line.split(' ').nth(4) == Some(path));
        ensure!(!is_mount, "{path} is mounted: {mounts}");
    }
    Ok(())
}

async fn handler_that_cannot_is_named(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::on(&context, context.shared_node().await?).await?;
    let name = format!("{}-old", fixture.namespace);
    let class = json!({
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": name},
        "handler": "old",
    });
    fixture.cluster.create(&class).await?;
    let mut pod = fixture.pod("a");
    pod["spec"]["runtimeClassName"] = name.into();
    let pod = crate::runtime_class::create_admitted(&fixture.cluster, &pod).await?;
    let expected = "can't set `spec.hostUsers: false`, RuntimeClass handler \"old\" does not \
                    support user namespaces";
    wait::until("the event", LIMIT, || async {
        let events = pods::events(&fixture.cluster, &pod).await?;
        let told = |event: &Value| {
            event["reason"] == "FailedCreatePodSandBox"
                && event["message"].as_str().is_some_and(|message| message.contains(expected))
        };
        Ok(match events.iter().any(told) {
            true => Look::Met(()),
            false => Look::NotYet(format!("{events:?}")),
        })
    })
    .await
}

//! Mounts of containers: who sees whose, what is read-only, what lies over what.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::LIMIT;

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

pub fn tests() -> Vec<Test> {
    integration::tests![
        mounts_travel_as_far_as_the_container_asks,
        mounts_lie_over_each_other_whatever_their_order,
        own_mounts_win_over_the_nodes_files,
        read_only_reaches_as_deep_as_asked,
    ]
}

struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        let cluster = context.cluster().await?;
        let node = context.shared_node().await?;
        Ok(Self { cluster, node, namespace: context.namespace().await? })
    }

    fn path(&self, name: &str) -> String {
        pods::path(&self.namespace, name)
    }

    fn pod(&self, name: &str) -> Value {
        pods::script_pod(&self.namespace, name, self.node.name(), FOREVER)
    }

    /// A directory of the host on a mount that is shared, as the agent makes its own.
    fn shared_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.node.root_directory().join(format!("{name}-{}", self.namespace));
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// What a shell prints in a container; an error when it fails.
    async fn shell(&self, pod: &str, container: &str, script: &str) -> Result<String> {
        let args =
            ["exec", "-n", &self.namespace, pod, "-c", container, "--", "/bin/sh", "-c", script];
        self.cluster.kubectl(&args).await
    }
}

/// A tmpfs on the node, made and taken away where the node sees it.
struct HostMount<'a> {
    node: &'a Node,
    path: PathBuf,
}

impl<'a> HostMount<'a> {
    fn make(node: &'a Node, path: &Path) -> Result<Self> {
        fs::create_dir_all(path)?;
        node.namespaces().run(|| {
            let none: Option<&str> = None;
            Ok(mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), none)?)
        })?;
        Ok(Self { node, path: path.to_owned() })
    }
}

impl Drop for HostMount<'_> {
    fn drop(&mut self) {
        // The node's end takes it away as well.
        let _ = self.node.namespaces().run(|| Ok(umount2(&self.path, MntFlags::MNT_DETACH)?));
    }
}

async fn mounts_travel_as_far_as_the_container_asks(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let host = fixture.shared_directory("propagation")?;
    let mut pod = fixture.pod("a");
    pod["spec"]["volumes"] = json!([{"name": "host", "hostPath": {"path": host}}]);
    let template = pod["spec"]["containers"][0].clone();
    let container = |name: &str, propagation: Value, privileged: bool| {
        let mut container = template.clone();
        container["name"] = name.into();
        container["securityContext"] = json!({"privileged": privileged});
        container["volumeMounts"] =
            json!([{"name": "host", "mountPath": "/host", "mountPropagation": propagation}]);
        container
    };
    pod["spec"]["containers"] = json!([
        container("both", json!("Bidirectional"), true),
        container("inward", json!("HostToContainer"), false),
        container("none", json!("None"), false),
        container("unset", json!(null), false),
    ]);
    // The rule of the API: only a privileged container may change the node's mounts.
    let mut forbidden = pod.clone();
    forbidden["metadata"]["name"] = "b".into();
    forbidden["spec"]["containers"][0]["securityContext"]["privileged"] = false.into();
    let refusal = fixture.cluster.create(&forbidden).await.err().context("it was accepted")?;
    ensure!(
        format!("{refusal:#}").contains("available only to privileged containers"),
        "{refusal:#}"
    );
    pods::run(&fixture.cluster, &pod, LIMIT).await?;

    let sees = async |container: &str, file: &str| {
        let script = format!("test -e /host/{file} && echo yes || echo no");
        Ok::<bool, anyhow::Error>(fixture.shell("a", container, &script).await? == "yes\n")
    };
    let from_host = HostMount::make(&fixture.node, &host.join("from-host"))?;
    fixture.node.namespaces().run(|| Ok(fs::write(host.join("from-host/f"), "")?))?;
    let from_pod =
        "mkdir /host/from-pod && mount -t tmpfs pod /host/from-pod && touch /host/from-pod/f";
    fixture.shell("a", "both", from_pod).await?;
    let seen = fixture.node.namespaces().run(|| Ok(host.join("from-pod/f").exists()))?;
    ensure!(seen, "the node does not see the pod's mount");
    for (container, expected) in
        [("both", true), ("inward", true), ("none", false), ("unset", false)]
    {
        for file in ["from-host/f", "from-pod/f"] {
            ensure!(sees(container, file).await? == expected, "{container} and {file}");
        }
    }
    drop(from_host);
    fixture.shell("a", "both", "umount /host/from-pod").await?;
    Ok(())
}

async fn mounts_lie_over_each_other_whatever_their_order(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let mut pod = fixture.pod("a");
    pod["spec"]["volumes"] = json!([
        {"name": "low", "emptyDir": {}},
        {"name": "middle", "emptyDir": {}},
        {"name": "high", "emptyDir": {"medium": "Memory"}},
    ]);
    let place = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        place("high", "/a/b/c"),
        place("low", "/a"),
        place("middle", "/a/b"),
        place("low", "/low"),
        place("middle", "/middle"),
    ]);
    pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let script = "touch /a/on-low /a/b/on-middle /a/b/c/on-high && ls /low /middle && ls /a/b/c";
    let found = fixture.shell("a", "main", script).await?;
    ensure!(found == "/low:\nb\non-low\n\n/middle:\nc\non-middle\non-high\n", "{found}");
    Ok(())
}

async fn own_mounts_win_over_the_nodes_files(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"hosts": "192.0.2.1 own\n"},
        "metadata": {"name": "settings", "namespace": fixture.namespace},
    });
    fixture.cluster.create(&settings).await?;
    let host = fixture.node.directory().join(format!("words-{}", fixture.namespace));
    fs::write(&host, "")?;
    let mut pod = fixture.pod("a");
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["volumes"] = json!([
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "words", "hostPath": {"path": host, "type": "File"}},
    ]);
    let container = &mut pod["spec"]["containers"][0];
    container["command"] =
        json!(["/bin/sh", "-c", "cat /etc/hosts > /dev/termination-log; grep -c . /etc/hosts"]);
    container["volumeMounts"] = json!([
        {"name": "settings", "mountPath": "/etc/hosts", "subPath": "hosts"},
        {"name": "words", "mountPath": "/dev/termination-log"},
    ]);
    let ended = pods::run_to_end(&fixture.cluster, &pod, LIMIT).await?;
    ensure!(ended["status"]["phase"] == "Succeeded", "{}", ended["status"]);
    // The kubelet lays its own file over the mount, and so takes the words away from it.
    if !peers_wanted() {
        ensure!(fs::read_to_string(&host)? == "192.0.2.1 own\n");
    }

    // The directory above is the container's; the two files lie in it as ever.
    let mut pod = fixture.pod("b");
    pod["spec"]["volumes"] = json!([{"name": "etc", "emptyDir": {}}]);
    let container = &mut pod["spec"]["containers"][0];
    container["terminationMessagePath"] = "/etc/last-words".into();
    container["volumeMounts"] = json!([{"name": "etc", "mountPath": "/etc"}]);
    pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let hosts = fixture.shell("b", "main", "cat /etc/hosts").await?;
    ensure!(hosts.starts_with("# Kubernetes-managed hosts file"), "{hosts}");
    // BusyBox has no way to end process 1 from beside it, so the file itself is looked at.
    let table = fixture.shell("b", "main", "cat /proc/self/mountinfo").await?;
    ensure!(table.contains(" /etc/last-words "), "{table}");
    Ok(())
}

async fn read_only_reaches_as_deep_as_asked(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let host = fixture.shared_directory("frozen")?;
    let _below = HostMount::make(&fixture.node, &host.join("below"))?;
    let mut pod = fixture.pod("a");
    pod["spec"]["volumes"] = json!([{"name": "host", "hostPath": {"path": host}}]);
    let mount = |path: &str, recursive: Value| json!({"name": "host", "mountPath": path, "readOnly": true, "recursiveReadOnly": recursive});
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        mount("/enabled", json!("Enabled")),
        mount("/possible", json!("IfPossible")),
        mount("/disabled", json!("Disabled")),
        mount("/unset", json!(null)),
    ]);
    let pod = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    for (place, top, below) in [
        ("enabled", false, false),
        ("possible", false, false),
        ("disabled", false, true),
        ("unset", false, true),
    ] {
        for (file, expected) in [(format!("/{place}/f"), top), (format!("/{place}/below/f"), below)]
        {
            let script = format!("touch {file} 2>/dev/null && echo yes || echo no");
            let written = fixture.shell("a", "main", &script).await? == "yes\n";
            ensure!(written == expected, "{file} can be written to: {written}");
        }
    }
    // The status says what came of each wish.
    wait::until("mounts in the status", LIMIT, || async {
        let now = fixture.cluster.get_json(&fixture.path("a")).await?;
        let mounts = &pods::container_status(&now, "main")?["volumeMounts"];
        let told = |path: &str| {
            let mut list = mounts.as_array().into_iter().flatten();
            let mount = list.find(|mount| mount["mountPath"] == path);
            mount.map(|mount| mount["recursiveReadOnly"].clone()).unwrap_or_default()
        };
        let found = ["/enabled", "/possible", "/disabled", "/unset"].map(told);
        let expected = [json!("Enabled"), json!("Enabled"), json!("Disabled"), json!("Disabled")];
        Ok(if found == expected { Look::Met(()) } else { Look::NotYet(mounts.to_string()) })
    })
    .await?;
    // Only what is read-only at all can be so in depth.
    let mut wrong = fixture.pod("b");
    wrong["spec"]["volumes"] = pod["spec"]["volumes"].clone();
    wrong["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "host", "mountPath": "/m", "recursiveReadOnly": "Enabled"}]);
    let refusal = fixture.cluster.create(&wrong).await.err().context("it was accepted")?;
    ensure!(format!("{refusal:#}").contains("when readOnly is true"), "{refusal:#}");
    Ok(())
}

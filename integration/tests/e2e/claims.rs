//! Claims: local and hostPath volumes, claims made for pods, and what users see while they wait.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::claims::{claim, claim_spec, local, mount, mount_claim, volume};
use integration::exposition::Page;
use integration::node::{Node, NodeOptions};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

/// Several tries of a pod that waits, and the controllers' own pace.
const BOUND_LIMIT: Duration = Duration::from_secs(120);

pub fn tests() -> Vec<Test> {
    integration::tests![
        scheduled_pods_share_a_local_volume_one_after_the_other,
        host_path_volume_and_read_only_claim,
        pod_waits_for_its_claim_and_starts_when_it_is_bound,
        local_volume_whose_directory_is_missing_says_so,
        claim_is_made_for_a_pod_and_a_strangers_is_refused,
        block_volume_is_refused,
        restart_of_the_agent_keeps_and_clears_local_volumes,
        claims_show_in_figures,
    ]
}

/// What a test about claims needs.
struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        let node = context.shared_node().await?;
        Self::on(context, node).await
    }

    async fn on(context: &TestContext, node: Arc<Node>) -> Result<Self> {
        let (cluster, namespace) = (context.cluster().await?, context.namespace().await?);
        Ok(Self { cluster, node, namespace })
    }

    /// A name that no other test has, for what lies outside of namespaces.
    fn own(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// A directory of the node.
    fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.node.directory().join(self.own(name));
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A volume with this source for the claim of that name, which is made too.
    async fn provide(&self, name: &str, source: &Value) -> Result<()> {
        let volume = volume(&self.own(name), (&self.namespace, name), source);
        self.cluster.create(&volume).await?;
        self.cluster.create(&claim(&self.namespace, name)).await?;
        self.wait_bound(name).await
    }

    async fn wait_bound(&self, name: &str) -> Result<()> {
        let path = self.claim_path(name);
        wait::until(&format!("claim {name} bound"), BOUND_LIMIT, || async {
            let claim = self.cluster.get_json(&path).await?;
            Ok(match claim["status"]["phase"] == "Bound" {
                true => Look::Met(()),
                false => Look::NotYet(claim["status"].to_string()),
            })
        })
        .await
    }

    fn claim_path(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/persistentvolumeclaims/{name}", self.namespace)
    }

    fn path(&self, pod: &str) -> String {
        pods::path(&self.namespace, pod)
    }

    /// A pod on the node that takes commands.
    fn pod(&self, name: &str) -> Value {
        services::server_pod(&self.namespace, name, self.node.name(), name)
    }

    async fn remove(&self, pod: &str) -> Result<()> {
        self.cluster.client().delete(&self.path(pod)).await?;
        pods::wait_gone(&self.cluster, &self.path(pod), LIMIT).await
    }

    /// Waits until an event of the pod says `text`.
    async fn told(&self, pod: &Value, text: &str) -> Result<()> {
        wait::until(&format!("event {text:?}"), BOUND_LIMIT, || async {
            let events = pods::events(&self.cluster, pod).await?;
            let mut mounts = events.iter().filter(|event| event["reason"] == "FailedMount");
            let said = |event: &Value| {
                event["message"].as_str().is_some_and(|message| message.contains(text))
            };
            Ok(match mounts.any(said) {
                true => Look::Met(()),
                false => Look::NotYet(format!("{events:?}")),
            })
        })
        .await
    }

    /// Mounts of local volumes on the node for this PersistentVolume.
    fn mounts_of(&self, volume: &str) -> Result<Vec<String>> {
        let end = format!("kubernetes.io~local-volume/{volume}");
        // This thread is in none of the processes that the node's /proc shows.
        let text = self.node.namespaces().run(|| Ok(fs::read_to_string("/proc/1/mountinfo")?))?;
        let targets = text.lines().filter_map(|line| line.split(' ').nth(4));
        Ok(targets.filter(|target| target.ends_with(&end)).map(str::to_owned).collect())
    }

    /// Waits until nothing of this PersistentVolume is mounted on the node.
    async fn unmounted(&self, volume: &str) -> Result<()> {
        wait::until(&format!("{volume} unmounted"), LIMIT, || async {
            let mounts = self.mounts_of(volume)?;
            Ok(if mounts.is_empty() { Look::Met(()) } else { Look::NotYet(format!("{mounts:?}")) })
        })
        .await
    }
}

/// The lines of mountinfo about `path`, as the pod's container sees them.
async fn mount_lines(pod: &Value, path: &str) -> Result<Vec<String>> {
    let text = in_pod::shell(pod, "cat /proc/self/mountinfo").await?;
    let lines = text.lines().filter(|line| line.split(' ').nth(4) == Some(path));
    Ok(lines.map(str::to_owned).collect())
}

async fn scheduled_pods_share_a_local_volume_one_after_the_other(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let Fixture { cluster, node, namespace } = &fixture;
    let class = fixture.own("local");
    cluster
        .create(&json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": class},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }))
        .await?;
    let disk = fixture.directory("disk")?;
    let mut volume = volume(&fixture.own("data"), (namespace, "data"), &local(&disk, node.name()));
    volume["spec"]["storageClassName"] = class.as_str().into();
    // The scheduler is to choose the volume.
    volume["spec"].as_object_mut().context("a spec")?.remove("claimRef");
    cluster.create(&volume).await?;
    let mut claim = claim(namespace, "data");
    claim["spec"]["storageClassName"] = class.as_str().into();
    cluster.create(&claim).await?;
    let scheduled = |name: &str| {
        let mut pod = fixture.pod(name);
        // The volume has no other node, so this one it must be.
        if let Some(spec) = pod["spec"].as_object_mut() {
            spec.remove("nodeName");
        }
        mount_claim(&mut pod, "data", "data", "/data");
        pod
    };
    let first = pods::run(cluster, &scheduled("first"), BOUND_LIMIT).await?;
    ensure!(first["spec"]["nodeName"] == node.name(), "{}", first["spec"]["nodeName"]);
    in_pod::shell(&first, "echo kept > /data/note").await?;
    ensure!(fs::read_to_string(disk.join("note"))? == "kept\n");
    let lines = mount_lines(&first, "/data").await?;
    ensure!(lines.len() == 1 && lines[0].contains(" rw,"), "{lines:?}");
    let place = format!("/pods/{}/volumes/kubernetes.io~local-volume/", pods::uid(&first)?);
    let mounts = fixture.mounts_of(&fixture.own("data"))?;
    ensure!(mounts.len() == 1 && mounts[0].contains(&place), "{mounts:?}");

    fixture.remove("first").await?;
    fixture.unmounted(&fixture.own("data")).await?;
    ensure!(fs::read_to_string(disk.join("note"))? == "kept\n");
    let second = pods::run(cluster, &scheduled("second"), BOUND_LIMIT).await?;
    ensure!(in_pod::shell(&second, "cat /data/note").await? == "kept\n");
    Ok(())
}

async fn host_path_volume_and_read_only_claim(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let made = fixture.node.directory().join(fixture.own("made"));
    fixture
        .provide("host", &json!({"hostPath": {"path": made, "type": "DirectoryOrCreate"}}))
        .await?;
    let disk = fixture.directory("disk")?;
    fs::write(disk.join("note"), "old\n")?;
    fixture.provide("local", &local(&disk, fixture.node.name())).await?;
    let mut pod = fixture.pod("a");
    mount_claim(&mut pod, "host", "host", "/host");
    let read_only = json!({"claimName": "local", "readOnly": true});
    mount(&mut pod, &json!({"name": "local", "persistentVolumeClaim": read_only}), "/local");
    let pod = pods::run(&fixture.cluster, &pod, BOUND_LIMIT).await?;
    in_pod::shell(&pod, "echo from the pod > /host/note").await?;
    ensure!(fs::read_to_string(made.join("note"))? == "from the pod\n");
    ensure!(in_pod::shell(&pod, "cat /local/note").await? == "old\n");
    ensure!(in_pod::shell(&pod, "echo new > /local/note").await.is_err(), "it can be written to");
    let lines = mount_lines(&pod, "/local").await?;
    ensure!(lines.len() == 1 && lines[0].contains(" ro,"), "{lines:?}");
    ensure!(fs::read_to_string(disk.join("note"))? == "old\n");
    Ok(())
}

async fn pod_waits_for_its_claim_and_starts_when_it_is_bound(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let Fixture { cluster, node, namespace } = &fixture;
    let mut pod = fixture.pod("a");
    mount_claim(&mut pod, "data", "late", "/data");
    let pod = cluster.create(&pod).await?;
    let before = "Unable to attach or mount volumes: unmounted volumes=[data";
    fixture.told(&pod, before).await?;
    let about =
        format!("failed to process volumes=[data]: error processing PVC {namespace}/late: ");
    let missing = "failed to fetch PVC from API server: persistentvolumeclaims \"late\" not found";
    fixture.told(&pod, &format!("{about}{missing}")).await?;
    cluster.create(&claim(namespace, "late")).await?;
    fixture.told(&pod, &format!("{about}PVC is not bound")).await?;
    let shown = cluster.get_json(&fixture.path("a")).await?;
    let waiting = &pods::container_status(&shown, "server")?["state"]["waiting"];
    ensure!(waiting["reason"] == "ContainerCreating", "{waiting}");
    ensure!(shown["status"]["phase"] == "Pending", "{}", shown["status"]);
    let disk = fixture.directory("disk")?;
    fs::write(disk.join("note"), "here\n")?;
    let name = fixture.own("late");
    let late = volume(&name, (namespace, "late"), &local(&disk, node.name()));
    cluster.create(&late).await?;
    let pod = pods::wait_ready(cluster, &fixture.path("a"), BOUND_LIMIT).await?;
    ensure!(in_pod::shell(&pod, "cat /data/note").await? == "here\n");
    Ok(())
}

async fn local_volume_whose_directory_is_missing_says_so(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let disk = fixture.node.directory().join(fixture.own("absent"));
    fixture.provide("data", &local(&disk, fixture.node.name())).await?;
    let mut pod = fixture.pod("a");
    mount_claim(&mut pod, "files", "data", "/data");
    let pod = fixture.cluster.create(&pod).await?;
    let text = format!(
        "MountVolume.NewMounter initialization failed for volume \"{}\" : path \"{}\" does not \
         exist (volume \"files\", claim {}/data)",
        fixture.own("data"),
        disk.display(),
        fixture.namespace
    );
    fixture.told(&pod, &text).await?;
    fs::create_dir(&disk)?;
    pods::wait_ready(&fixture.cluster, &fixture.path("a"), LIMIT).await?;
    Ok(())
}

async fn claim_is_made_for_a_pod_and_a_strangers_is_refused(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let Fixture { cluster, node, namespace } = &fixture;
    let disk = fixture.directory("disk")?;
    let source = local(&disk, node.name());
    cluster.create(&volume(&fixture.own("scratch"), (namespace, "a-scratch"), &source)).await?;
    // Somebody's claim has the name that the one of the other pod is to have.
    let stranger = claim(namespace, "b-scratch");
    let other = fixture.directory("other")?;
    let source = local(&other, node.name());
    cluster.create(&volume(&fixture.own("other"), (namespace, "b-scratch"), &source)).await?;
    cluster.create(&stranger).await?;
    fixture.wait_bound("b-scratch").await?;
    let with_scratch = |name: &str| {
        let mut pod = fixture.pod(name);
        let template = json!({"spec": claim_spec()});
        let scratch = json!({"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}});
        mount(&mut pod, &scratch, "/scratch");
        pod
    };
    let pod = pods::run(cluster, &with_scratch("a"), BOUND_LIMIT).await?;
    in_pod::shell(&pod, "echo mine > /scratch/note").await?;
    ensure!(fs::read_to_string(disk.join("note"))? == "mine\n");
    let made = cluster.get_json(&fixture.claim_path("a-scratch")).await?;
    ensure!(made["metadata"]["ownerReferences"][0]["uid"] == pods::uid(&pod)?, "{made}");
    let refused = cluster.create(&with_scratch("b")).await?;
    let text = format!(
        "PVC {namespace}/b-scratch was not created for pod {namespace}/b (pod is not owner)"
    );
    fixture.told(&refused, &text).await?;
    ensure!(fixture.mounts_of(&fixture.own("other"))?.is_empty(), "it is mounted all the same");
    Ok(())
}

async fn block_volume_is_refused(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let mut pod = fixture.pod("a");
    pod["spec"]["volumes"] =
        json!([{"name": "raw", "persistentVolumeClaim": {"claimName": "none"}}]);
    pod["spec"]["containers"][0]["volumeDevices"] =
        json!([{"name": "raw", "devicePath": "/dev/raw"}]);
    fixture.cluster.create(&pod).await?;
    let refused = pods::wait_for(&fixture.cluster, &fixture.path("a"), LIMIT, |pod| {
        pod["status"]["phase"] == "Failed"
    })
    .await?;
    ensure!(refused["status"]["reason"] == "PodFeatureUnsupported", "{}", refused["status"]);
    let message = refused["status"]["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("spec.containers[0].volumeDevices: block volumes are not supported"),
        "{message}"
    );
    Ok(())
}

async fn restart_of_the_agent_keeps_and_clears_local_volumes(
    context: Arc<TestContext>,
) -> Result<()> {
    let node = context.node(NodeOptions::default()).await?;
    let fixture = Fixture::on(&context, node).await?;
    let Fixture { cluster, node, .. } = &fixture;
    let mut pods_made = Vec::new();
    for name in ["stays", "goes"] {
        let disk = fixture.directory(name)?;
        fs::write(disk.join("note"), name)?;
        fixture.provide(name, &local(&disk, node.name())).await?;
        let mut pod = fixture.pod(name);
        mount_claim(&mut pod, "data", name, "/data");
        pods_made.push(pods::run(cluster, &pod, BOUND_LIMIT).await?);
    }
    let mounted = |name: &str| fixture.mounts_of(&fixture.own(name));
    let (stays, goes) = (mounted("stays")?, mounted("goes")?);
    ensure!(stays.len() == 1 && goes.len() == 1, "{stays:?} {goes:?}");
    let agent = node.agent()?;
    agent.kill9().await?;
    cluster.client().force_delete(&fixture.path("goes")).await?;
    agent.start()?;
    fixture.unmounted(&fixture.own("goes")).await?;
    let left = node.root_directory().join("pods").join(pods::uid(&pods_made[1])?);
    wait::until("directory of the pod gone", LIMIT, || async {
        Ok(if left.exists() { Look::NotYet(format!("{left:?}")) } else { Look::Met(()) })
    })
    .await?;
    ensure!(fs::read_to_string(node.directory().join(fixture.own("goes")).join("note"))? == "goes");
    node.wait_ready(LIMIT).await?;
    let pod = pods::wait_ready(cluster, &fixture.path("stays"), LIMIT).await?;
    let restarts = &pods::container_status(&pod, "server")?["restartCount"];
    ensure!(*restarts == 0, "{restarts} restarts");
    // A container that is made anew makes noded look for its volumes. It takes the answer along.
    let _ = in_pod::shell(&pod, "kill 1").await;
    let pod = pods::wait_for(cluster, &fixture.path("stays"), LIMIT, |pod| {
        let status = pods::container_status(pod, "server");
        pods::is_ready(pod) && status.is_ok_and(|status| status["restartCount"] == 1)
    })
    .await?;
    ensure!(in_pod::shell(&pod, "cat /data/note").await? == "stays");
    ensure!(mount_lines(&pod, "/data").await?.len() == 1);
    ensure!(mounted("stays")? == stays, "{:?} instead of {stays:?}", mounted("stays")?);
    fixture.remove("stays").await?;
    fixture.unmounted(&fixture.own("stays")).await?;
    ensure!(
        fs::read_to_string(node.directory().join(fixture.own("stays")).join("note"))? == "stays"
    );
    Ok(())
}

async fn claims_show_in_figures(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let Fixture { cluster, node, namespace } = &fixture;
    let disk = fixture.directory("disk")?;
    fixture.provide("data", &local(&disk, node.name())).await?;
    let mut pod = fixture.pod("a");
    mount_claim(&mut pod, "data", "data", "/data");
    pods::run(cluster, &pod, BOUND_LIMIT).await?;

    let text = cluster.client().get_text(&format!("{}/proxy/metrics", node.api_path())).await?;
    let page = Page::read(&text);
    ensure!(page.problems.is_empty(), "{:#?}", page.problems);
    let labels = [("namespace", namespace.as_str()), ("persistentvolumeclaim", "data")];
    let mut values = Vec::new();
    for name in ["capacity_bytes", "available_bytes", "used_bytes", "inodes", "inodes_free"] {
        let family = format!("kubelet_volume_stats_{name}");
        let line = text.lines().find(|line| {
            line.starts_with(&format!("{family}{{"))
                && labels.iter().all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
        });
        let line = line.with_context(|| format!("no {family} of the claim"))?;
        let value = line.rsplit(' ').next().unwrap_or_default();
        values.push(value.parse::<f64>().with_context(|| line.to_owned())?);
    }
    ensure!(values[0] > 0.0 && values[0] >= values[1], "{values:?}");
    for part in [
        "volume_manager_total_volumes{plugin_name=\"kubernetes.io/local-volume\"",
        "storage_operation_duration_seconds_count{",
    ] {
        ensure!(text.contains(part), "no {part} on the page");
    }

    // Volumes are looked at once a minute.
    wait::until("claim in the summary", Duration::from_secs(150), || async {
        let path = format!("{}/proxy/stats/summary", node.api_path());
        let summary = cluster.get_json(&path).await?;
        let mut pods = summary["pods"].as_array().into_iter().flatten();
        let own = pods.find(|pod| pod["podRef"]["namespace"] == namespace.as_str());
        let volumes = own.map(|pod| pod["volume"].clone()).unwrap_or_default();
        let mut listed = volumes.as_array().into_iter().flatten();
        let found = listed.any(|volume| {
            volume["name"] == "data"
                && volume["pvcRef"] == json!({"name": "data", "namespace": namespace})
                && volume["capacityBytes"].as_u64().is_some_and(|bytes| bytes > 0)
        });
        Ok(if found { Look::Met(()) } else { Look::NotYet(volumes.to_string()) })
    })
    .await
}

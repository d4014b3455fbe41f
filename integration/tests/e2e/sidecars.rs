//! Sidecars: when they start, restart and stop.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::node::Node;
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::story::Story;
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        next_container_waits_for_the_startup_probe_of_the_sidecar_before_it,
        sidecars_outlive_the_regular_containers_and_stop_in_reverse_order,
        pod_completes_when_its_regular_containers_have,
        sidecar_restarts_in_a_pod_that_never_restarts,
    ]
}

struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
    story: Story,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        let cluster = context.cluster().await?;
        let node = context.shared_node().await?;
        let namespace = context.namespace().await?;
        let story = Story::new(&node, &namespace, "a")?;
        Ok(Self { cluster, node, namespace, story })
    }

    fn pod(&self, policy: &str, init: &[Value], regular: &[Value]) -> Value {
        let mut pod = self.story.pod((&self.namespace, "a", self.node.name()), init, regular);
        pod["spec"]["restartPolicy"] = policy.into();
        pod
    }

    fn path(&self) -> String {
        pods::path(&self.namespace, "a")
    }

    /// A container that tells how it comes and how it goes, which takes half a second.
    fn script(name: &str) -> String {
        format!(
            "trap 'sleep 0.5; say {name} ends; exit 0' TERM; say {name} begins; \
             while :; do sleep 0.1; done"
        )
    }
}

async fn next_container_waits_for_the_startup_probe_of_the_sidecar_before_it(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let script = "sleep 1; say sidecar is up; touch /story/up; exec sleep 600";
    let mut sidecar = fixture.story.sidecar("sidecar", script);
    sidecar["startupProbe"] = json!({
        "exec": {"command": ["test", "-f", "/story/up"]},
        "periodSeconds": 1,
        "failureThreshold": 60,
    });
    let init = fixture.story.container("init", "say init");
    let main = fixture.story.container("main", "say main; exec sleep 600");
    let pod = fixture.pod("Always", &[sidecar, init], &[main]);
    let pod = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    fixture.story.wait_lines(&["sidecar is up", "init", "main"], LIMIT).await?;
    let status = pods::container_status(&pod, "sidecar")?;
    ensure!(status["started"] == true && status["ready"] == true, "{status}");
    ensure!(status["restartCount"] == 0, "{status}");
    Ok(())
}

async fn sidecars_outlive_the_regular_containers_and_stop_in_reverse_order(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let sidecar = |name: &str| fixture.story.sidecar(name, &Fixture::script(name));
    let main = fixture.story.container("main", &Fixture::script("main"));
    let pod = fixture.pod("Always", &[sidecar("s1"), sidecar("s2")], &[main]);
    pods::run(&fixture.cluster, &pod, LIMIT).await?;
    for name in ["s1", "s2", "main"] {
        fixture.story.wait_line(&format!("{name} begins"), LIMIT).await?;
    }
    fixture.cluster.client().delete(&fixture.path()).await?;
    pods::wait_gone(&fixture.cluster, &fixture.path(), LIMIT).await?;
    let lines = fixture.story.lines()?;
    let ends: Vec<_> = lines.iter().filter(|line| line.ends_with("ends")).collect();
    ensure!(ends == ["main ends", "s2 ends", "s1 ends"], "{lines:?}");
    Ok(())
}

async fn pod_completes_when_its_regular_containers_have(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    for policy in ["Never", "OnFailure"] {
        let sidecar = fixture.story.sidecar("sidecar", &Fixture::script("sidecar"));
        let main = fixture.story.container("main", "say main");
        let mut pod = fixture.pod(policy, &[sidecar], &[main]);
        pod["metadata"]["name"] = policy.to_lowercase().into();
        let pod = pods::run_to_end(&fixture.cluster, &pod, LIMIT).await?;
        ensure!(pod["status"]["phase"] == "Succeeded", "{}", pod["status"]);
        let status = pods::container_status(&pod, "sidecar")?;
        ensure!(status["state"]["terminated"].is_object(), "{status}");
        ensure!(status["restartCount"] == 0, "{status}");
    }
    let lines = fixture.story.lines()?;
    let ends = lines.iter().filter(|line| *line == "sidecar ends").count();
    ensure!(ends == 2, "{lines:?}");
    Ok(())
}

async fn sidecar_restarts_in_a_pod_that_never_restarts(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let script = "say sidecar; test -f /story/ran && exec sleep 600; touch /story/ran; exit 0";
    let sidecar = fixture.story.sidecar("sidecar", script);
    let main = fixture.story.container("main", "say main; exec sleep 600");
    let pod = fixture.pod("Never", &[sidecar], &[main]);
    fixture.cluster.create(&pod).await?;
    let pod = pods::wait_for(&fixture.cluster, &fixture.path(), LIMIT, |pod| {
        let status = pods::container_status(pod, "sidecar");
        pods::is_ready(pod) && status.is_ok_and(|status| status["restartCount"] == 1)
    })
    .await?;
    ensure!(pod["status"]["phase"] == "Running", "{}", pod["status"]);
    let main = pods::container_status(&pod, "main")?;
    ensure!(main["restartCount"] == 0, "{main}");
    let ended = &pods::container_status(&pod, "sidecar")?["lastState"]["terminated"];
    ensure!(ended["exitCode"] == 0, "{ended}");
    Ok(())
}

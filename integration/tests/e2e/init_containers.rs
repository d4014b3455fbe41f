//! Init containers: order, failure, and that they do their work once.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::node::{Node, NodeOptions, condition, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::story::Story;
use integration::{TestContext, pods};
use serde_json::Value;

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        init_containers_run_one_after_the_other_before_the_regular_ones,
        failed_init_container_ends_a_pod_that_never_restarts,
        failed_init_container_is_tried_again,
        finished_init_containers_do_not_run_again_after_a_kill_of_the_agent,
        new_sandbox_runs_the_init_containers_again,
    ]
}

struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
    story: Story,
}

impl Fixture {
    async fn on(context: &TestContext, node: Arc<Node>) -> Result<Self> {
        let cluster = context.cluster().await?;
        let namespace = context.namespace().await?;
        let story = Story::new(&node, &namespace, "a")?;
        Ok(Self { cluster, node, namespace, story })
    }

    async fn new(context: &TestContext) -> Result<Self> {
        Self::on(context, context.shared_node().await?).await
    }

    fn pod(&self, policy: &str, init: &[Value], regular: &[Value]) -> Value {
        let mut pod = self.story.pod((&self.namespace, "a", self.node.name()), init, regular);
        pod["spec"]["restartPolicy"] = policy.into();
        pod
    }

    fn path(&self) -> String {
        pods::path(&self.namespace, "a")
    }
}

fn exit_code<'a>(pod: &'a Value, container: &str) -> Result<&'a Value> {
    Ok(&pods::container_status(pod, container)?["state"]["terminated"]["exitCode"])
}

async fn init_containers_run_one_after_the_other_before_the_regular_ones(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let step = |name: &str| {
        let script = format!("say {name} begins; sleep 0.5; say {name} ends");
        fixture.story.container(name, &script)
    };
    let pod = fixture.pod("Never", &[step("first"), step("second")], &[step("main")]);
    let mut watch = {
        let path = format!("/api/v1/namespaces/{}/pods", fixture.namespace);
        fixture.cluster.watch(&path).await?
    };
    let pod = pods::run_to_end(&fixture.cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Succeeded", "{}", pod["status"]);
    let expected =
        ["first begins", "first ends", "second begins", "second ends", "main begins", "main ends"];
    let lines = fixture.story.lines()?;
    ensure!(lines == expected, "{lines:?}");
    for name in ["first", "second"] {
        let status = pods::container_status(&pod, name)?;
        let ended = &status["state"]["terminated"];
        ensure!(ended["reason"] == "Completed" && status["ready"] == true, "{status}");
    }
    // While init containers run, the pod is Pending and says what it waits for.
    let waiting = watch
        .until("first init container at work", LIMIT, |event| {
            event.object["status"]["initContainerStatuses"][0]["state"]["running"].is_object()
        })
        .await?
        .object;
    ensure!(waiting["status"]["phase"] == "Pending", "{}", waiting["status"]);
    let reason = &pods::container_status(&waiting, "main")?["state"]["waiting"]["reason"];
    ensure!(reason == "PodInitializing", "{}", waiting["status"]);
    let initialized = condition(&waiting, "Initialized").unwrap_or(&Value::Null);
    ensure!(initialized["reason"] == "ContainersNotInitialized", "{initialized}");
    Ok(())
}

async fn failed_init_container_ends_a_pod_that_never_restarts(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let init = [
        fixture.story.container("first", "say first; exit 4"),
        fixture.story.container("second", "say second"),
    ];
    let main = fixture.story.container("main", "say main");
    let pod = fixture.pod("Never", &init, &[main]);
    let pod = pods::run_to_end(&fixture.cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Failed", "{}", pod["status"]);
    ensure!(exit_code(&pod, "first")? == 4, "{}", pod["status"]);
    let lines = fixture.story.lines()?;
    ensure!(lines == ["first"], "{lines:?}");
    Ok(())
}

async fn failed_init_container_is_tried_again(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let init = fixture.story.container(
        "first",
        "say first; test -f /story/tried && exit 0; touch /story/tried; exit 1",
    );
    let main = fixture.story.container("main", "say main");
    let pod = fixture.pod("OnFailure", &[init], &[main]);
    let pod = pods::run_to_end(&fixture.cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Succeeded", "{}", pod["status"]);
    let status = pods::container_status(&pod, "first")?;
    ensure!(status["restartCount"] == 1, "{status}");
    let lines = fixture.story.lines()?;
    ensure!(lines == ["first", "first", "main"], "{lines:?}");
    Ok(())
}

/// The main container says hello and stays until somebody leaves a file, once.
const MAIN: &str = "say main; test -f /story/go && exec sleep 600; \
                    while ! test -f /story/go; do sleep 0.1; done";

async fn finished_init_containers_do_not_run_again_after_a_kill_of_the_agent(
    context: Arc<TestContext>,
) -> Result<()> {
    let node = context.node(NodeOptions::default()).await?;
    let fixture = Fixture::on(&context, node).await?;
    let init =
        ["first", "second"].map(|name| fixture.story.container(name, &format!("say {name}")));
    let main = fixture.story.container("main", MAIN);
    let pod = fixture.pod("Always", &init, &[main]);
    let pod = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let agent = fixture.node.agent()?;
    agent.kill9().await?;
    if !peers_wanted() {
        // Nothing is left of them, and the runtime forgets that they ever were.
        let label = format!("labels.\"io.kubernetes.pod.uid\"=={}", pods::uid(&pod)?);
        for name in ["first", "second"] {
            let filter = format!("{label},labels.\"io.kubernetes.container.name\"=={name}");
            let runtime = fixture.node.runtime();
            let ids = runtime.ctr(&["containers", "list", "--quiet", &filter]).await?;
            for id in ids.lines() {
                runtime.ctr(&["containers", "rm", id]).await?;
            }
        }
        fixture.node.runtime().restart().await?;
    }
    agent.start()?;
    // The agent has looked at the pod when it starts the main container again.
    std::fs::write(fixture.story.file("go"), "")?;
    let pod = pods::wait_for(&fixture.cluster, &fixture.path(), LIMIT, |pod| {
        let status = pods::container_status(pod, "main");
        pods::is_ready(pod) && status.is_ok_and(|status| status["restartCount"] == 1)
    })
    .await?;
    fixture.story.wait_lines(&["first", "second", "main", "main"], LIMIT).await?;
    for name in ["first", "second"] {
        ensure!(exit_code(&pod, name)? == 0, "{}", pod["status"]);
        ensure!(pods::container_status(&pod, name)?["restartCount"] == 0, "{}", pod["status"]);
    }
    Ok(())
}

async fn new_sandbox_runs_the_init_containers_again(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let init = fixture.story.container("first", "say first");
    let main = fixture.story.container("main", "say main; exec sleep 600");
    let mut pod = fixture.pod("Always", &[init], &[main]);
    pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
    let pod = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let label = format!(
        "labels.\"io.kubernetes.pod.uid\"=={},labels.\"io.cri-containerd.kind\"==sandbox",
        pods::uid(&pod)?
    );
    let sandbox = fixture.node.runtime().ctr(&["containers", "list", "--quiet", &label]).await?;
    fixture.node.runtime().ctr(&["task", "kill", "--signal", "SIGKILL", sandbox.trim()]).await?;
    let pod = pods::wait_for(&fixture.cluster, &fixture.path(), LIMIT, |pod| {
        let status = pods::container_status(pod, "main");
        pods::is_ready(pod) && status.is_ok_and(|status| status["restartCount"] == 1)
    })
    .await?;
    fixture.story.wait_lines(&["first", "main", "first", "main"], LIMIT).await?;
    ensure!(exit_code(&pod, "first")? == 0, "{}", pod["status"]);
    Ok(())
}

//! Probes of running containers.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::node::{Node, NodeOptions};
use integration::real_cluster::Cluster;
use integration::real_runtime::AGNHOST_IMAGE;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

/// Ends well at once when asked to.
const POLITE: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
/// Does not end when asked to.
const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.1; done";

pub fn tests() -> Vec<Test> {
    integration::tests![
        readiness_of_every_kind_comes_and_goes_and_restarts_nothing,
        failed_liveness_restarts_the_container_with_the_probes_own_grace,
        liveness_waits_until_the_container_has_started,
        command_that_takes_too_long_is_a_failure,
        wrong_port_name_is_told_and_leaves_the_container_alone,
        readiness_outlives_noded_but_not_its_container,
        containerd_that_is_away_is_no_failed_probe,
    ]
}

/// A node with a folder `/state` that its pods share with the test.
struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
    state: PathBuf,
}

impl Fixture {
    async fn new(context: &TestContext, node: Arc<Node>) -> Result<Self> {
        let cluster = context.cluster().await?;
        let namespace = context.namespace().await?;
        let state = node.directory().join(format!("state-{namespace}"));
        fs::create_dir_all(&state)?;
        Ok(Self { cluster, node, namespace, state })
    }

    async fn shared(context: &TestContext) -> Result<Self> {
        Self::new(context, context.shared_node().await?).await
    }

    /// A node of the test's own.
    async fn own(context: &TestContext) -> Result<Self> {
        Self::new(context, context.node(NodeOptions::default()).await?).await
    }

    /// A pod that runs `script` with these probes.
    fn pod(&self, name: &str, script: &str, probes: &Value) -> Value {
        let mut pod = pods::script_pod(&self.namespace, name, self.node.name(), script);
        let spec = &mut pod["spec"];
        spec["volumes"] = json!([{"name": "state", "hostPath": {"path": self.state}}]);
        let container = &mut spec["containers"][0];
        container["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
        for (kind, probe) in probes.as_object().into_iter().flatten() {
            container[kind] = probe.clone();
        }
        pod
    }

    fn path(&self, name: &str) -> String {
        pods::path(&self.namespace, name)
    }

    fn put(&self, name: &str) -> Result<()> {
        Ok(fs::write(self.state.join(name), "")?)
    }

    fn take(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.state.join(name))?)
    }

    fn lines(&self, name: &str) -> usize {
        fs::read_to_string(self.state.join(name)).unwrap_or_default().lines().count()
    }

    async fn wait_for(&self, name: &str, accept: impl Fn(&Value) -> bool) -> Result<Value> {
        pods::wait_for(&self.cluster, &self.path(name), LIMIT, accept).await
    }

    /// Waits for an event about the pod whose message begins so.
    async fn wait_message(&self, pod: &Value, reason: &str, begin: &str) -> Result<String> {
        wait::until(begin, LIMIT, || async {
            let events = pods::events(&self.cluster, pod).await?;
            let of_reason = events.iter().filter(|event| event["reason"] == reason);
            let messages: Vec<&str> =
                of_reason.filter_map(|event| event["message"].as_str()).collect();
            Ok(match messages.iter().find(|message| message.starts_with(begin)) {
                Some(message) => Look::Met((*message).to_owned()),
                None => Look::NotYet(format!("{messages:?}")),
            })
        })
        .await
    }
}

fn main_status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn restarts(pod: &Value) -> u64 {
    main_status(pod)["restartCount"].as_u64().unwrap_or_default()
}

fn runs(pod: &Value) -> bool {
    main_status(pod)["state"]["running"].is_object()
}

fn exec(command: &str) -> Value {
    json!({
        "exec": {"command": ["/bin/sh", "-c", command]},
        "periodSeconds": 1,
        // A shell may take its time on a busy machine.
        "timeoutSeconds": 10,
        "failureThreshold": 1,
    })
}

/// A script that has a server running as long as there is the file `/state/NAME`.
fn server_while(name: &str, server: &str) -> String {
    let file = format!("/state/{name}");
    format!(
        "trap 'exit 0' TERM; while :; do until test -e {file}; do sleep 0.1; done; {server} & \
         while test -e {file}; do sleep 0.1; done; kill $!; wait $!; done"
    )
}

async fn readiness_of_every_kind_comes_and_goes_and_restarts_nothing(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::shared(&context).await?;
    let made = rcgen::generate_simple_self_signed(vec!["nobody.example".to_owned()])?;
    fs::write(fixture.state.join("cert.pem"), made.cert.pem())?;
    fs::write(fixture.state.join("key.pem"), made.signing_key.serialize_pem())?;
    let netexec = "/agnhost netexec --udp-port=-1 --http-port=8080";
    let tls = "--tls-cert-file=/state/cert.pem --tls-private-key-file=/state/key.pem";
    let https = format!("{netexec} {tls}");
    let grpc = "/agnhost grpc-health-checking --port=5000 --http-port=8080";
    let cases = [
        ("exec", POLITE.to_owned(), json!({"exec": {"command": ["test", "-e", "/state/exec"]}})),
        (
            "http",
            server_while("http", netexec),
            json!({"httpGet": {"port": "web", "path": "/hostname"}}),
        ),
        (
            "https",
            server_while("https", &https),
            json!({"httpGet": {"port": 8080, "path": "/hostname", "scheme": "HTTPS"}}),
        ),
        ("tcp", server_while("tcp", netexec), json!({"tcpSocket": {"port": 8080}})),
        ("grpc", server_while("grpc", grpc), json!({"grpc": {"port": 5000}})),
    ];
    for (name, script, mut probe) in cases {
        probe["periodSeconds"] = 1.into();
        probe["failureThreshold"] = 1.into();
        probe["timeoutSeconds"] = 10.into();
        let mut pod = fixture.pod(name, &script, &json!({"readinessProbe": probe}));
        let container = &mut pod["spec"]["containers"][0];
        container["image"] = AGNHOST_IMAGE.into();
        container["ports"] = json!([{"name": "web", "containerPort": 8080}]);
        fixture.cluster.create(&pod).await?;
    }
    let names = ["exec", "http", "https", "tcp", "grpc"];
    for (name, told) in names.into_iter().zip([
        "Readiness probe failed: ",
        "Readiness probe failed: Get \"http://10.244.",
        "Readiness probe failed: Get \"https://10.244.",
        "Readiness probe failed: dial tcp 10.244.",
        "Readiness probe failed: ",
    ]) {
        let pod = fixture.wait_for(name, runs).await?;
        ensure!(!pods::is_ready(&pod), "{name} is ready too early: {}", pod["status"]);
        ensure!(main_status(&pod)["started"] == true, "{name}: {}", pod["status"]);
        let message = fixture.wait_message(&pod, "Unhealthy", told).await?;
        let is_refused = message.ends_with("connection refused");
        ensure!(is_refused || !message.contains("dial tcp"), "{message}");
        fixture.put(name)?;
    }
    for name in names {
        fixture.wait_for(name, pods::is_ready).await?;
        fixture.take(name)?;
    }
    for name in names {
        let pod = fixture.wait_for(name, |pod| !pods::is_ready(pod)).await?;
        ensure!(restarts(&pod) == 0 && runs(&pod), "{name}: {}", pod["status"]);
    }
    Ok(())
}

async fn failed_liveness_restarts_the_container_with_the_probes_own_grace(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::shared(&context).await?;
    let mut liveness = exec("test ! -e /state/dead");
    liveness["terminationGracePeriodSeconds"] = 1.into();
    let script = format!("rm -f /state/dead; echo >> /state/begun; {STUBBORN}");
    let mut pod = fixture.pod("a", &script, &json!({"livenessProbe": liveness}));
    pod["spec"]["terminationGracePeriodSeconds"] = 600.into();
    let before = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    // A container is Ready a moment before its first line ran, which would take the file away.
    wait::until("begin of the script", LIMIT, || async {
        let lines = fixture.lines("begun");
        Ok(if lines >= 1 { Look::Met(()) } else { Look::NotYet(lines.to_string()) })
    })
    .await?;
    fixture.put("dead")?;
    let killed = Instant::now();
    let after = fixture.wait_for("a", |pod| restarts(pod) == 1 && pods::is_ready(pod)).await?;
    ensure!(killed.elapsed() < Duration::from_secs(60), "after {:?}", killed.elapsed());
    let ended = &main_status(&after)["lastState"]["terminated"];
    ensure!(ended["exitCode"] == 137, "{ended}");
    let first = pods::container_id(&before, "main")?;
    ensure!(pods::container_id(&after, "main")? != first, "{}", after["status"]);
    fixture.wait_message(&before, "Unhealthy", "Liveness probe failed: ").await?;
    let killing = "Container main failed liveness probe, will be restarted";
    fixture.wait_message(&before, "Killing", killing).await?;
    fixture.cluster.client().force_delete(&fixture.path("a")).await?;
    Ok(())
}

async fn liveness_waits_until_the_container_has_started(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::shared(&context).await?;
    let mut startup = exec("echo >> /state/startups; test -e /state/started");
    startup["failureThreshold"] = 1000.into();
    let probes = json!({
        "startupProbe": startup,
        // Fails as soon as readiness has been probed as well.
        "livenessProbe": exec("echo >> /state/lives; test ! -e /state/readies"),
        "readinessProbe": exec("echo >> /state/readies"),
    });
    let script = format!("rm -f /state/started; {POLITE}");
    fixture.cluster.create(&fixture.pod("a", &script, &probes)).await?;
    wait::until("four startup probes", LIMIT, || async {
        let lines = fixture.lines("startups");
        Ok(if lines >= 4 { Look::Met(()) } else { Look::NotYet(lines.to_string()) })
    })
    .await?;
    let pod = fixture.wait_for("a", runs).await?;
    ensure!(main_status(&pod)["started"] == false, "{}", pod["status"]);
    ensure!(!pods::is_ready(&pod) && restarts(&pod) == 0, "{}", pod["status"]);
    let others = (fixture.lines("lives"), fixture.lines("readies"));
    ensure!(others == (0, 0), "liveness and readiness were probed: {others:?}");
    fixture.put("started")?;
    let pod = fixture.wait_for("a", |pod| restarts(pod) >= 1).await?;
    let lives = fixture.lines("lives");
    ensure!(lives >= 1 && fixture.lines("readies") >= 1, "{lives} {}", pod["status"]);
    Ok(())
}

async fn command_that_takes_too_long_is_a_failure(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::shared(&context).await?;
    let mut probe = exec("sleep 600");
    probe["timeoutSeconds"] = 1.into();
    let pod = fixture.pod("a", POLITE, &json!({"readinessProbe": probe}));
    let pod = fixture.cluster.create(&pod).await?;
    let message = fixture.wait_message(&pod, "Unhealthy", "Readiness probe failed: ").await?;
    ensure!(message.contains("command timed out"), "{message}");
    let pod = fixture.wait_for("a", runs).await?;
    ensure!(!pods::is_ready(&pod) && restarts(&pod) == 0, "{}", pod["status"]);
    Ok(())
}

async fn wrong_port_name_is_told_and_leaves_the_container_alone(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::shared(&context).await?;
    let probe = json!({"httpGet": {"port": "wbe"}, "periodSeconds": 1, "failureThreshold": 1});
    let probes = json!({"readinessProbe": probe, "livenessProbe": probe});
    let pod = fixture.cluster.create(&fixture.pod("a", POLITE, &probes)).await?;
    let told = "Readiness probe errored and resulted in unknown state: ";
    let message = fixture.wait_message(&pod, "Unhealthy", told).await?;
    ensure!(message.contains("wbe"), "{message}");
    let pod = fixture.wait_for("a", runs).await?;
    ensure!(!pods::is_ready(&pod) && restarts(&pod) == 0, "{}", pod["status"]);
    Ok(())
}

async fn readiness_outlives_noded_but_not_its_container(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::own(&context).await?;
    let mut slow = exec("test -e /state/ready");
    slow["periodSeconds"] = 20.into();
    // Its failures must not restart the container while the test looks at it.
    let mut startup = exec("test -e /state/ready");
    startup["failureThreshold"] = 1000.into();
    let probes = json!({
        "startupProbe": startup,
        "readinessProbe": slow,
        "livenessProbe": exec("true"),
    });
    fixture.put("ready")?;
    let steady = pods::run(&fixture.cluster, &fixture.pod("a", POLITE, &probes), LIMIT).await?;
    let every_pod = format!("/api/v1/namespaces/{}/pods", fixture.namespace);
    let mut watch = fixture.cluster.watch(&every_pod).await?;
    let agent = fixture.node.agent()?;
    for round in 0..3 {
        agent.kill9().await?;
        agent.start()?;
        // A pod of after the restart: the agent looks at the old one no later.
        let probes = json!({"readinessProbe": exec("true")});
        let new = fixture.pod(&format!("new-{round}"), POLITE, &probes);
        pods::run(&fixture.cluster, &new, LIMIT).await?;
    }
    for event in watch.arrived().iter().filter(|event| event.name() == "a") {
        let status = &event.object["status"];
        ensure!(pods::is_ready(&event.object) && restarts(&event.object) == 0, "flap: {status}");
        ensure!(main_status(&event.object)["started"] == true, "flap: {status}");
    }

    agent.stop().await?;
    fixture.take("ready")?;
    let id = pods::container_id(&steady, "main")?;
    fixture.node.runtime().ctr(&["task", "kill", "--signal", "SIGKILL", &id]).await?;
    agent.start()?;
    let pod = fixture.wait_for("a", |pod| restarts(pod) == 1 && runs(pod)).await?;
    ensure!(!pods::is_ready(&pod), "ready before it was probed: {}", pod["status"]);
    ensure!(main_status(&pod)["started"] == false, "{}", pod["status"]);
    let told = "Startup probe failed: ";
    fixture.wait_message(&pod, "Unhealthy", told).await?;
    for event in watch.arrived().iter().filter(|event| event.name() == "a") {
        let early = restarts(&event.object) == 1 && pods::is_ready(&event.object);
        ensure!(!early, "ready before it was probed: {}", event.object["status"]);
    }
    Ok(())
}

async fn containerd_that_is_away_is_no_failed_probe(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::own(&context).await?;
    let probes = json!({"readinessProbe": exec("true"), "livenessProbe": exec("true")});
    let before = pods::run(&fixture.cluster, &fixture.pod("a", POLITE, &probes), LIMIT).await?;
    fixture.node.runtime().kill().await?;
    for kind in ["Readiness", "Liveness"] {
        let told = format!("{kind} probe errored and resulted in unknown state: ");
        fixture.wait_message(&before, "Unhealthy", &told).await?;
    }
    let during = fixture.cluster.get_json(&fixture.path("a")).await?;
    ensure!(pods::is_ready(&during), "{}", during["status"]);
    fixture.node.runtime().start_again().await?;
    fixture.node.wait_ready(Duration::from_secs(120)).await?;
    // Made and ready only when the agent has caught up.
    let new = fixture.pod("new", POLITE, &probes);
    pods::run(&fixture.cluster, &new, LIMIT).await?;
    let after = fixture.cluster.get_json(&fixture.path("a")).await?;
    ensure!(pods::is_ready(&after) && restarts(&after) == 0, "{}", after["status"]);
    let first = pods::container_id(&before, "main")?;
    ensure!(pods::container_id(&after, "main")? == first, "{}", after["status"]);
    Ok(())
}

//! Container logs: `kubectl logs` with all its flags through the real API server, and rotation.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use integration::api_client::is_status;
use integration::kubectl::Kubectl;
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::story::Story;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        flags_select_what_they_say,
        long_and_unfinished_lines_come_as_they_were_written,
        previous_instance_has_a_log_of_its_own,
        containers_of_all_kinds_have_logs,
        what_has_no_log_is_refused_in_the_kubelets_words,
        log_of_a_pod_is_followed_to_the_end_of_its_deletion,
        followers_lose_nothing_while_logs_are_rotated,
        followers_that_go_away_leave_nothing_open,
    ]
}

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

    fn script(&self, name: &str, script: &str) -> Value {
        let mut pod = pods::script_pod(&self.namespace, name, self.node.name(), script);
        pod["spec"]["restartPolicy"] = "Never".into();
        pod
    }

    fn path(&self, pod: &str) -> String {
        pods::path(&self.namespace, pod)
    }

    /// What `kubectl logs` prints.
    async fn logs(&self, args: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["logs", "-n", &self.namespace], args].concat()).await
    }

    /// Why `kubectl logs` fails.
    async fn refusal(&self, args: &[&str]) -> Result<String> {
        match self.logs(args).await {
            Ok(printed) => anyhow::bail!("logs {args:?} printed {printed:?}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// What the node's server answers, by way of the API server.
    async fn ask_node(&self, path: &str) -> Result<String> {
        let node = self.node.name();
        let path = format!("/api/v1/nodes/{node}/proxy/containerLogs/{}/{path}", self.namespace);
        self.cluster.client().get_text(&path).await
    }

    /// Waits until the agent holds an accepted number of logs of the pod open.
    async fn wait_open(
        &self,
        pod: &Value,
        what: &str,
        accept: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let id = self.node.agent()?.ids()[0];
        let dir = format!("_{}/main/0.log", pods::uid(pod)?);
        let look = || async {
            let mut count = 0;
            for entry in fs::read_dir(format!("/proc/{id}/fd"))? {
                // Some are closed meanwhile.
                let Ok(link) = fs::read_link(entry?.path()) else { continue };
                count += usize::from(link.to_string_lossy().contains(&dir));
            }
            Ok(count)
        };
        wait::until_value(what, LIMIT, look, |count| accept(*count)).await.map(drop)
    }

    /// Waits until the log of a pod holds a text.
    async fn wait_logged(&self, pod: &str, text: &str) -> Result<()> {
        wait::until(text, LIMIT, || async {
            let log = self.logs(&[pod]).await?;
            Ok(if log.contains(text) { Look::Met(()) } else { Look::NotYet(log) })
        })
        .await
    }
}

async fn flags_select_what_they_say(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    // What is written to two streams at the same time is in no order.
    let script = "echo one; sleep 0.5; echo two >&2; sleep 3; echo three; sleep 0.5; echo four >&2";
    let pod = pods::run_to_end(&fixture.cluster, &fixture.script("a", script), LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Succeeded", "{}", pod["status"]);
    let all = "one\ntwo\nthree\nfour\n";
    ensure!(fixture.logs(&["a"]).await? == all);
    // The container has ended, so following it ends too.
    ensure!(fixture.logs(&["a", "--follow"]).await? == all);
    for (flag, wanted) in [
        ("--tail=0", ""),
        ("--tail=1", "four\n"),
        ("--tail=3", "two\nthree\nfour\n"),
        ("--tail=99", all),
        ("--limit-bytes=1", "o"),
        ("--limit-bytes=6", "one\ntw"),
        ("--limit-bytes=999", all),
        ("--since=1h", all),
        ("--since-time=2020-01-01T00:00:00Z", all),
        ("--since-time=2120-01-01T00:00:00Z", ""),
    ] {
        for kubectl in Kubectl::of_both_releases(&fixture.cluster) {
            let found = kubectl.run(&["logs", "-n", &fixture.namespace, "a", flag], b"").await?;
            ensure!(found.text() == wanted, "{} {flag}: {found:?}", kubectl.name());
        }
    }
    let stamped = fixture.logs(&["a", "--timestamps"]).await?;
    let lines: Vec<(&str, &str)> =
        stamped.lines().filter_map(|line| line.split_once(' ')).collect();
    let texts: Vec<&str> = lines.iter().map(|(_, text)| *text).collect();
    ensure!(texts == ["one", "two", "three", "four"], "{stamped}");
    ensure!(lines.iter().all(|(time, _)| time.len() >= "2006-01-02T15:04:05.000000000Z".len()));
    // Its own line is not older than the third one, all before are.
    let since = format!("--since-time={}", lines[2].0);
    ensure!(fixture.logs(&["a", &since]).await? == "three\nfour\n");
    let prefixed = fixture.logs(&["a", "--prefix", "--tail=1"]).await?;
    ensure!(prefixed == "[pod/a/main] four\n", "{prefixed}");
    if !peers_wanted() {
        // The kubelet has this behind a feature gate that is off.
        ensure!(fixture.ask_node("a/main?stream=Stdout").await? == "one\nthree\n");
        ensure!(fixture.ask_node("a/main?stream=Stderr").await? == "two\nfour\n");
    }
    ensure!(fixture.ask_node("a/main?stream=All").await? == all);
    Ok(())
}

async fn long_and_unfinished_lines_come_as_they_were_written(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf unfinished";
    pods::run_to_end(&fixture.cluster, &fixture.script("a", script), LIMIT).await?;
    let log = fixture.logs(&["a"]).await?;
    ensure!(log == format!("{}\nunfinished", "x".repeat(100_000)), "{} bytes", log.len());
    let stamped = fixture.logs(&["a", "--timestamps"]).await?;
    ensure!(stamped.lines().count() == 2, "{} lines", stamped.lines().count());
    ensure!(stamped.matches("Z ").count() + stamped.matches("00 ").count() == 2);
    let limited = fixture.logs(&["a", "--limit-bytes=50000"]).await?;
    ensure!(limited == "x".repeat(50_000), "{} bytes", limited.len());
    Ok(())
}

async fn previous_instance_has_a_log_of_its_own(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let story = Story::new(&fixture.node, &fixture.namespace, "a")?;
    let script = "test -f /story/go || { echo first; while ! test -f /story/go; do sleep 0.1; done; \
                  exit 1; }; echo second; exec sleep 600";
    let main = story.container("main", script);
    let pod = story.pod((&fixture.namespace, "a", fixture.node.name()), &[], &[main]);
    pods::run(&fixture.cluster, &pod, LIMIT).await?;
    fixture.wait_logged("a", "first").await?;
    let refused = fixture.refusal(&["a", "--previous"]).await?;
    let wanted = r#"Error from server (BadRequest): previous terminated container "main" in pod "a" not found"#;
    ensure!(refused.contains(wanted), "{refused}");
    fs::write(story.file("go"), "")?;
    fixture.wait_logged("a", "second").await?;
    ensure!(fixture.logs(&["a"]).await? == "second\n");
    ensure!(fixture.logs(&["a", "--previous"]).await? == "first\n");
    ensure!(fixture.logs(&["a", "--previous", "--follow"]).await? == "first\n");
    Ok(())
}

async fn containers_of_all_kinds_have_logs(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let story = Story::new(&fixture.node, &fixture.namespace, "a")?;
    let init = story.container("init", "echo init");
    let one = story.container("one", "echo one; exec sleep 600");
    let two = story.container("two", "echo two; exec sleep 600");
    let pod = story.pod((&fixture.namespace, "a", fixture.node.name()), &[init], &[one, two]);
    pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let mut debug = story.container("debug", "echo debug");
    debug["targetContainerName"] = "one".into();
    let patch = json!({"spec": {"ephemeralContainers": [debug]}});
    let path = format!("{}/ephemeralcontainers", fixture.path("a"));
    fixture.cluster.client().strategic_patch(&path, &patch).await?;
    pods::wait_for(&fixture.cluster, &fixture.path("a"), LIMIT, |pod| {
        let status = pods::container_status(pod, "debug");
        status.is_ok_and(|status| status["state"]["terminated"].is_object())
    })
    .await?;
    for name in ["init", "one", "two", "debug"] {
        let log = fixture.logs(&["a", "-c", name]).await?;
        ensure!(log == format!("{name}\n"), "{name}: {log}");
    }
    let all = fixture.logs(&["a", "--all-containers", "--prefix"]).await?;
    let mut lines: Vec<&str> = all.lines().collect();
    lines.sort_unstable();
    let wanted = ["[pod/a/debug] debug", "[pod/a/init] init", "[pod/a/one] one", "[pod/a/two] two"];
    ensure!(lines == wanted, "{lines:?}");
    Ok(())
}

async fn what_has_no_log_is_refused_in_the_kubelets_words(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    pods::run(&fixture.cluster, &fixture.script("a", "exec sleep 600"), LIMIT).await?;
    let mut waiting = fixture.script("b", "true");
    waiting["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "missing"}}]);
    waiting["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    fixture.cluster.create(&waiting).await?;
    let is_waiting = |reason: &'static str| {
        move |pod: &Value| {
            let status = pods::container_status(pod, "main");
            status.is_ok_and(|status| status["state"]["waiting"]["reason"] == reason)
        }
    };
    let b = fixture.path("b");
    pods::wait_for(&fixture.cluster, &b, LIMIT, is_waiting("ContainerCreating")).await?;
    let mut no_image = fixture.script("c", "true");
    no_image["spec"]["containers"][0]["image"] = "localhost:1/no/image:1".into();
    fixture.cluster.create(&no_image).await?;
    let c = fixture.path("c");
    pods::wait_for(&fixture.cluster, &c, LIMIT, is_waiting("ImagePullBackOff")).await?;
    for (args, wanted) in [
        (vec!["nobody"], "(NotFound): pods \"nobody\" not found"),
        (vec!["a", "-c", "x"], "container x is not valid for pod a"),
        (
            vec!["b"],
            r#"Error from server (BadRequest): container "main" in pod "b" is waiting to start: ContainerCreating"#,
        ),
        (
            vec!["c"],
            r#"Error from server (BadRequest): container "main" in pod "c" is waiting to start: trying and failing to pull image"#,
        ),
    ] {
        let refused = fixture.refusal(&args).await?;
        ensure!(refused.contains(wanted), "{args:?}: {refused}");
    }
    for (path, status) in [
        ("nobody/main", StatusCode::NOT_FOUND),
        ("a/x", StatusCode::NOT_FOUND),
        ("a/main?tailLines=x", StatusCode::BAD_REQUEST),
        ("a/main?tailLines=-1", StatusCode::UNPROCESSABLE_ENTITY),
        ("a/main?limitBytes=0", StatusCode::UNPROCESSABLE_ENTITY),
        ("a/main?sinceSeconds=0", StatusCode::UNPROCESSABLE_ENTITY),
        ("a/main?sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z", StatusCode::UNPROCESSABLE_ENTITY),
        ("b/main", StatusCode::BAD_REQUEST),
    ] {
        let Err(error) = fixture.ask_node(path).await else { anyhow::bail!("{path} is answered") };
        ensure!(is_status(&error, status), "{path}: {error:#}");
    }
    Ok(())
}

async fn log_of_a_pod_is_followed_to_the_end_of_its_deletion(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let script = "trap 'echo ending; sleep 3; echo ended; exit 0' TERM; echo ready; \
                  while :; do sleep 0.1; done";
    let mut pod = fixture.script("a", script);
    pod["spec"]["terminationGracePeriodSeconds"] = 30.into();
    pods::run(&fixture.cluster, &pod, LIMIT).await?;
    fixture.wait_logged("a", "ready").await?;
    let deletion = async {
        fixture.cluster.client().delete(&fixture.path("a")).await?;
        fixture.wait_logged("a", "ending").await
    };
    let followed = fixture.logs(&["a", "--follow"]);
    let (followed, deleted) = tokio::join!(followed, deletion);
    deleted?;
    let followed = followed?;
    ensure!(followed == "ready\nending\nended\n", "{followed}");
    pods::wait_gone(&fixture.cluster, &fixture.path("a"), LIMIT).await
}

/// The directory of the logs of a pod's container `main`.
fn log_dir(node: &Node, pod: &Value) -> Result<PathBuf> {
    let field = |name: &str| pod["metadata"][name].as_str().context("metadata");
    let name = format!("{}_{}_{}", field("namespace")?, field("name")?, field("uid")?);
    Ok(node.var_log().join("pods").join(name).join("main"))
}

/// Names of rotated logs.
fn rotated(dir: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("0.log.") && !name.ends_with(".tmp") {
            names.insert(name);
        }
    }
    Ok(names)
}

async fn followers_lose_nothing_while_logs_are_rotated(context: Arc<TestContext>) -> Result<()> {
    const ROTATIONS: usize = 10;
    let limit = Duration::from_secs(180);
    let options = NodeOptions {
        kubelet_config: json!({
            "containerLogMaxSize": "10Ki",
            "containerLogMaxFiles": 4,
            "containerLogMonitorInterval": "3s",
        }),
        ..NodeOptions::default()
    };
    let node = context.node(options).await?;
    let fixture = Fixture::on(&context, node).await?;
    let story = Story::new(&fixture.node, &fixture.namespace, "a")?;
    // Without a pause between the lines of a round, so that some are written while a log is
    // rotated, and on both streams.
    let script = "while ! test -f /story/begin; do sleep 0.1; done; i=0; while ! test -f /story/end; do n=0; while [ $n -lt 50 ]; do \
                  echo line $i; echo line $((i + 1)) >&2; i=$((i + 2)); n=$((n + 1)); done; \
                  sleep 0.1; done; echo last $i";
    let main = story.container("main", script);
    let mut pod = story.pod((&fixture.namespace, "a", fixture.node.name()), &[], &[main]);
    pod["spec"]["restartPolicy"] = "Never".into();
    let pod = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let dir = log_dir(&fixture.node, &pod)?;
    let mut seen = BTreeSet::new();
    let rotations = async {
        fixture.wait_open(&pod, "followers", |count| count >= 2).await?;
        fs::write(story.file("begin"), "")?;
        let watched = wait::until("rotations", limit, || {
            let names = rotated(&dir).map(|names| {
                let stamps = names.iter().map(|name| name.trim_end_matches(".gz").to_owned());
                seen.extend(stamps);
                seen.len()
            });
            async move {
                let count = names?;
                let enough = count >= ROTATIONS;
                Ok(if enough { Look::Met(()) } else { Look::NotYet(format!("{count} rotations")) })
            }
        })
        .await;
        fs::write(story.file("end"), "")?;
        watched
    };
    let follow = ["a", "--follow"];
    let (first, second, rotations) =
        tokio::join!(fixture.logs(&follow), fixture.logs(&follow), rotations);
    rotations?;
    for followed in [first?, second?] {
        check_lines(&followed)?;
    }
    let names = rotated(&dir)?;
    let newest = names.last().context("nothing is rotated")?;
    ensure!(names.len() <= 3 && !newest.ends_with(".gz"), "{names:?}");
    ensure!(names.iter().filter(|name| name.ends_with(".gz")).count() >= 1, "{names:?}");
    for name in names.iter().filter(|name| name.ends_with(".gz")) {
        let mut text = String::new();
        GzDecoder::new(fs::File::open(dir.join(name))?).read_to_string(&mut text)?;
        ensure!(text.lines().all(|line| line.contains(" F line ")), "{name}: {text}");
    }
    // Without following it is the log that was written last.
    let log = fixture.logs(&["a"]).await?;
    ensure!(log.lines().last().is_some_and(|line| line.starts_with("last ")), "{log}");
    Ok(())
}

/// The lines of both streams are all there once, each stream in its order, and the last one counts
/// them.
fn check_lines(log: &str) -> Result<()> {
    let mut next = [0, 1];
    let mut lines = log.lines().peekable();
    while let Some(number) = lines.peek().and_then(|line| line.strip_prefix("line ")) {
        let number: usize = number.parse().with_context(|| format!("line {number:?}"))?;
        let wanted = &mut next[number % 2];
        ensure!(number == *wanted, "line {number} where {wanted} was to come");
        *wanted += 2;
        lines.next();
    }
    let end: Vec<&str> = lines.collect();
    ensure!(end == [format!("last {}", next[0])], "{next:?} {:?}", end.first());
    ensure!(next[0] + 1 == next[1] && next[0] > 0, "{next:?}");
    Ok(())
}

async fn followers_that_go_away_leave_nothing_open(context: Arc<TestContext>) -> Result<()> {
    const FOLLOWERS: usize = 8;
    let node = context.node(NodeOptions::default()).await?;
    let fixture = Fixture::on(&context, node).await?;
    let script = "while :; do echo line; sleep 0.1; done";
    let pod = pods::run(&fixture.cluster, &fixture.script("a", script), LIMIT).await?;
    let follow = ["a", "--follow"];
    let followers = futures::future::join_all((0..FOLLOWERS).map(|_| fixture.logs(&follow)));
    tokio::select! {
        ended = followers => anyhow::bail!("followers ended: {ended:?}"),
        opened = fixture.wait_open(&pod, "open logs", |count| count >= FOLLOWERS) => opened?,
    }
    fixture.wait_open(&pod, "closed logs", |count| count == 0).await?;
    ensure!(fixture.logs(&["a", "--tail=1"]).await? == "line\n");
    Ok(())
}

//! `kubectl exec`, `attach`, `cp` and `debug` with old and new clients, through the API server.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use integration::kubectl::Kubectl;
use integration::node::NodeOptions;
use integration::real_runtime::BUSYBOX_IMAGE;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::LIMIT;

const MEGABYTE: usize = 1 << 20;

pub fn tests() -> Vec<Test> {
    integration::tests![
        exec_hands_on_outputs_input_and_exit_codes,
        exec_gives_a_terminal_its_size,
        exec_carries_a_hundred_megabytes_each_way,
        attach_reaches_the_process_of_the_container,
        copied_files_are_the_same_on_both_sides,
        debug_container_is_attached_to,
        what_cannot_be_executed_is_told,
        websockets_end_at_the_node,
        restarted_runtime_ends_its_streams,
    ]
}

async fn exec_hands_on_outputs_input_and_exit_codes(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 3600");
    pods::run(&cluster, &pod, LIMIT).await?;
    for kubectl in Kubectl::all(&cluster) {
        let name = kubectl.name();
        for (script, code, output, error) in [
            ("echo out; echo err >&2", 0, "out\n", "err\n"),
            ("echo out; exit 1", 1, "out\n", "command terminated with exit code 1"),
            ("kill -9 $$", 137, "", "command terminated with exit code 137"),
            ("cat; echo nothing came", 0, "nothing came\n", ""),
        ] {
            let args = ["exec", "-n", &namespace, "a", "--", "sh", "-c", script];
            let ended = kubectl.run(&args, b"not wanted").await?;
            ensure!(ended.code == code, "{name}: {script}: {ended:?}");
            ensure!(ended.text() == output, "{name}: {script}: {ended:?}");
            ensure!(ended.errors.contains(error), "{name}: {script}: {ended:?}");
        }
        // The end of the input reaches the command, whose output comes after it.
        let args = ["exec", "-i", "-n", &namespace, "a", "--", "sh", "-c", "cat; echo end; exit 3"];
        let ended = kubectl.run(&args, b"one\ntwo\n").await?;
        ensure!((ended.code, ended.text().as_str()) == (3, "one\ntwo\nend\n"), "{name}: {ended:?}");
        let args = ["exec", "-n", &namespace, "a", "--", "/no/such/program"];
        let ended = kubectl.run(&args, b"").await?;
        ensure!(ended.code != 0 && ended.errors.contains("/no/such/program"), "{name}: {ended:?}");
    }
    Ok(())
}

async fn exec_gives_a_terminal_its_size(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 3600");
    pods::run(&cluster, &pod, LIMIT).await?;
    // The size may come a moment after the command has begun.
    let script = "test -t 0 && echo a terminal; until [ \"$(stty size)\" = '33 91' ]; do \
                  sleep 0.1; done; stty size; read line; echo got $line; exit 5";
    for kubectl in Kubectl::all(&cluster) {
        let args = ["exec", "-it", "-n", &namespace, "a", "--", "sh", "-c", script];
        let ended = kubectl.run_in_terminal(&args, b"typed\n").await?;
        let (name, text) = (kubectl.name(), ended.text());
        ensure!(ended.code == 5, "{name}: {ended:?}\n{text}");
        for line in ["a terminal\r\n", "33 91\r\n", "got typed\r\n"] {
            ensure!(text.contains(line), "{name}: {text:?}");
        }
    }
    Ok(())
}

/// Bytes that do not repeat (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn sum(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn exec_carries_a_hundred_megabytes_each_way(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 3600");
    pods::run(&cluster, &pod, LIMIT).await?;
    let bytes = noise(100 * MEGABYTE);
    let wanted = sum(&bytes);
    for kubectl in Kubectl::all(&cluster) {
        let name = kubectl.name();
        let script = "cat > /tmp/noise; sha256sum < /tmp/noise";
        let args = ["exec", "-i", "-n", &namespace, "a", "--", "sh", "-c", script];
        let found = String::from_utf8(kubectl.succeed(&args, &bytes).await?)?;
        ensure!(found.starts_with(&wanted), "{name}: the container got other bytes");
        let args = ["exec", "-n", &namespace, "a", "--", "cat", "/tmp/noise"];
        let found = kubectl.succeed(&args, b"").await?;
        ensure!(found.len() == bytes.len(), "{name}: {} bytes came back", found.len());
        ensure!(sum(&found) == wanted, "{name}: other bytes came back");
    }
    Ok(())
}

async fn attach_reaches_the_process_of_the_container(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    for kubectl in Kubectl::all(&cluster) {
        let name = kubectl.name();
        // The runtime takes the input before it hands on the first output, so the input has to
        // wait until both outputs are attached; that of errors is the last.
        let script = "(until [ -e /begun ]; do echo ready; echo ready >&2; sleep 0.1; done) & \
                      while read line; do touch /begun; echo got $line; echo well >&2; done";
        let mut pod = pods::script_pod(&namespace, &name, node.name(), script);
        pod["spec"]["restartPolicy"] = "Never".into();
        pod["spec"]["containers"][0]["stdin"] = true.into();
        pod["spec"]["containers"][0]["stdinOnce"] = true.into();
        pods::run(&cluster, &pod, LIMIT).await?;
        let mut child = kubectl.start(&["attach", "-i", "-n", &namespace, &name])?;
        let mut input = child.stdin.take().context("no pipe")?;
        let errors = child.stderr.as_mut().context("no pipe")?;
        tokio::time::timeout(LIMIT, read_word(errors, "ready")).await??;
        input.write_all(b"one\ntwo\n").await?;
        drop(input);
        let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
        ensure!(ended.status.success(), "{name}: {ended:?}");
        ensure!(without_ready(&ended.stdout) == ["got one", "got two"], "{name}: {ended:?}");
        let errors = without_ready(&ended.stderr);
        ensure!(errors.windows(2).any(|two| two == ["well", "well"]), "{name}: {ended:?}");
    }
    Ok(())
}

/// Lines but those by which a container tells that its outputs are attached.
fn without_ready(output: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(output).unwrap_or("not UTF-8");
    text.lines().filter(|line| *line != "ready").collect()
}

async fn copied_files_are_the_same_on_both_sides(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 3600");
    pods::run(&cluster, &pod, LIMIT).await?;
    let bytes = noise(5 * MEGABYTE + 1);
    let here = context.run().directory().join(format!("copied-{}", context.number()));
    fs::create_dir_all(here.join("sent/inner"))?;
    fs::write(here.join("sent/inner/noise"), &bytes)?;
    fs::write(here.join("sent/empty"), "")?;
    let sent = here.join("sent");
    let sent = sent.to_str().context("a path that is not text")?;
    for kubectl in Kubectl::all(&cluster) {
        let name = kubectl.name();
        let there = format!("{namespace}/a:/tmp/{name}");
        kubectl.succeed(&["cp", sent, &there], b"").await?;
        let back = here.join(&name);
        let back_text = back.to_str().context("a path that is not text")?;
        kubectl.succeed(&["cp", &there, back_text], b"").await?;
        ensure!(fs::read(back.join("inner/noise"))? == bytes, "{name}: other bytes came back");
        ensure!(fs::read(back.join("empty"))?.is_empty(), "{name}");
    }
    Ok(())
}

async fn debug_container_is_attached_to(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 4711");
    pods::run(&cluster, &pod, LIMIT).await?;
    for kubectl in Kubectl::all(&cluster) {
        let name = kubectl.name();
        let image = format!("--image={BUSYBOX_IMAGE}");
        // The runtime hands input on before it hands back the first output, and may drop the last
        // output when the container ends meanwhile. So input waits for output, and the end for
        // more input.
        let script = "until read -t 1 line; do echo ready; done; echo $line; \
                      tr '\\0' ' ' < /proc/1/cmdline; read end";
        let args = [
            "debug",
            "-i",
            "-n",
            &namespace,
            "a",
            &image,
            "--target=main",
            "-c",
            &name,
            "--profile=general",
            "--",
            "sh",
            "-c",
            script,
        ];
        // The runtime detaches from a container when its input ends, so that stays open.
        let mut child = kubectl.start(&args)?;
        let mut input = child.stdin.take().context("no pipe")?;
        let output = child.stdout.as_mut().context("no pipe")?;
        tokio::time::timeout(LIMIT, read_word(output, "ready")).await??;
        input.write_all(b"hello\n").await?;
        tokio::time::timeout(LIMIT, read_word(output, "hello\nsleep 4711")).await??;
        input.write_all(b"end\n").await?;
        let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await?;
        drop(input);
        let ended = ended?;
        ensure!(ended.status.success(), "{name}: {ended:?}");
    }
    Ok(())
}

/// Reads until a word has come; an error when the output ends without it.
async fn read_word(output: &mut (impl AsyncRead + Unpin), word: &str) -> Result<()> {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(word) {
        let count = output.read_buf(&mut seen).await?;
        ensure!(count > 0, "no {word:?} in {:?}", String::from_utf8_lossy(&seen));
    }
    Ok(())
}

async fn what_cannot_be_executed_is_told(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut two = pods::script_pod(&namespace, "two", node.name(), "exec sleep 3600");
    let mut second = two["spec"]["containers"][0].clone();
    second["name"] = "second".into();
    two["spec"]["containers"] = json!([two["spec"]["containers"][0], second]);
    pods::run(&cluster, &two, LIMIT).await?;
    let mut late = pods::script_pod(&namespace, "late", node.name(), "exec sleep 3600");
    late["spec"]["containers"][0]["image"] = "noded.test/no-such-image:1".into();
    late["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
    cluster.create(&late).await?;
    pods::wait_for(&cluster, &pods::path(&namespace, "late"), LIMIT, |pod| {
        pods::container_status(pod, "main")
            .is_ok_and(|status| status["state"]["waiting"]["reason"] == "ErrImageNeverPull")
    })
    .await?;
    for kubectl in Kubectl::all(&cluster) {
        let name = kubectl.name();
        for (args, wanted) in [
            (["late", "-c", "main"], "container not found (\"main\")"),
            (["none", "-c", "main"], "pods \"none\" not found"),
        ] {
            let args = [&["exec", "-n", &namespace][..], &args, &["--", "true"]].concat();
            let ended = kubectl.run(&args, b"").await?;
            ensure!(ended.code == 1 && ended.errors.contains(wanted), "{name}: {ended:?}");
        }
        let args = ["exec", "-n", &namespace, "two", "--", "echo", "first"];
        let ended = kubectl.run(&args, b"").await?;
        ensure!(ended.text() == "first\n", "{name}: {ended:?}");
        ensure!(ended.errors.contains("Defaulted container \"main\""), "{name}: {ended:?}");
    }
    let at = |path: &str| format!("/api/v1/nodes/{}/proxy{path}", node.name());
    for (path, wanted) in [
        (format!("/exec/{namespace}/none/main?output=1"), "404 Not Found: pod does not exist"),
        (format!("/exec/{namespace}/two/none?output=1"), "container not found (\"none\")"),
        (
            format!("/exec/{namespace}/two/main?%zz&input"),
            "400 Bad Request: you must specify at least 1 of stdin, stdout, stderr",
        ),
        (format!("/exec/{namespace}/two/main?output=1"), "Upgrade request required"),
        (format!("/portForward/{namespace}/none"), "404 Not Found: pod does not exist"),
        (format!("/portForward/{namespace}/two/no-such-uid"), "404 Not Found: pod not found"),
    ] {
        let refused = cluster.client().get_text(&at(&path)).await.err();
        let refused = refused.map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(refused.contains(wanted), "{path}: {refused}");
    }
    Ok(())
}

async fn websockets_end_at_the_node(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 3600");
    pods::run(&cluster, &pod, LIMIT).await?;
    let object = cluster.get_json(&node.api_path()).await?;
    let declared = &object["status"]["declaredFeatures"];
    ensure!(*declared == json!(["ExtendWebSocketsToKubelet"]), "{declared}");
    let metrics = format!("/api/v1/nodes/{}/proxy/metrics", node.name());
    let counted = "kubelet_websocket_streaming_requests_total{subresource=\"exec\"} 2";
    for kubectl in Kubectl::all(&cluster) {
        kubectl.succeed(&["exec", "-n", &namespace, "a", "--", "true"], b"").await?;
    }
    let text = cluster.client().get_text(&metrics).await?;
    let lines = text.lines().filter(|line| line.contains("websocket_streaming"));
    ensure!(text.contains(counted), "{:?}", lines.collect::<Vec<_>>());
    Ok(())
}

async fn restarted_runtime_ends_its_streams(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 3600");
    pods::run(&cluster, &pod, LIMIT).await?;
    let all = Kubectl::all(&cluster);
    let mut running = Vec::new();
    for kubectl in &all {
        let script = "echo begun; exec sleep 3600";
        let args = ["exec", "-i", "-n", &namespace, "a", "--", "sh", "-c", script];
        let mut child = kubectl.start(&args)?;
        let mut begun = [0; 6];
        let output = child.stdout.as_mut().context("no pipe")?;
        tokio::time::timeout(LIMIT, output.read_exact(&mut begun)).await??;
        running.push((kubectl.name(), child));
    }
    node.runtime().restart().await?;
    for (name, mut child) in running {
        tokio::time::timeout(LIMIT, child.wait()).await.with_context(|| name)??;
    }
    // The next one finds the new streaming server.
    wait::until("exec after the restart", LIMIT, || async {
        let args = ["exec", "-n", &namespace, "a", "--", "echo", "again"];
        let ended = all[0].run(&args, b"").await?;
        Ok(if ended.text() == "again\n" { Look::Met(()) } else { Look::NotYet(ended.errors) })
    })
    .await
}

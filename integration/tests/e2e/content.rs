//! The content of volumes whose files the node writes: what is in them, whose they are, when they
//! change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        modes_and_owners_are_as_asked,
        bytes_and_sizes_arrive_whole,
        optional_objects_come_and_go,
        missing_objects_and_keys_are_named_until_they_come,
        deleted_object_stays_in_the_files,
        reader_never_sees_half_an_update,
        unchanged_files_are_left_alone_across_a_restart,
        restarted_agent_keeps_running_pods_fresh,
        volume_mounted_into_another_finds_its_place,
        path_that_leads_out_is_refused;
        alone: changes_are_in_the_files_within_two_seconds,
    ]
}

/// What a pod test needs.
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

    fn path(&self, kind: &str, name: &str) -> String {
        format!("/api/v1/namespaces/{}/{kind}/{name}", self.namespace)
    }

    async fn config_map(&self, name: &str, data: Value) -> Result<Value> {
        let metadata = json!({"name": name, "namespace": self.namespace});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": data});
        self.cluster.create(&object).await
    }

    async fn secret(&self, name: &str, data: Value) -> Result<Value> {
        let metadata = json!({"name": name, "namespace": self.namespace});
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
            "stringData": data});
        self.cluster.create(&object).await
    }

    async fn patch(&self, kind: &str, name: &str, patch: Value) -> Result<()> {
        self.cluster.client().merge_patch(&self.path(kind, name), &patch).await.map(drop)
    }

    /// A pod that takes commands, with these volumes, each mounted at `/NAME`.
    fn pod(&self, name: &str, volumes: &Value) -> Value {
        let mut pod = services::server_pod(&self.namespace, name, self.node.name(), name);
        pod["spec"]["volumes"] = volumes.clone();
        let mounts = volumes.as_array().into_iter().flatten().map(|volume| {
            let name = volume["name"].as_str().unwrap_or_default();
            json!({"name": name, "mountPath": format!("/{name}")})
        });
        pod["spec"]["containers"][0]["volumeMounts"] = mounts.collect();
        pod
    }

    async fn run(&self, pod: &Value) -> Result<Value> {
        pods::run(&self.cluster, pod, LIMIT).await
    }
}

async fn expect(pod: &Value, command: &str, expected: &str) -> Result<()> {
    let found = in_pod::shell(pod, command).await?;
    ensure!(found.trim_end() == expected, "{command}: {found:?} instead of {expected:?}");
    Ok(())
}

/// Waits until a command prints this.
async fn until_prints(pod: &Value, command: &str, expected: &str) -> Result<()> {
    wait::until(command, LIMIT, || async {
        let found = in_pod::shell(pod, command).await.unwrap_or_default();
        let met = found.trim_end() == expected;
        Ok(if met { Look::Met(()) } else { Look::NotYet(found) })
    })
    .await
}

fn every_kind() -> Value {
    let fields = json!([
        {"path": "label", "fieldRef": {"fieldPath": "metadata.labels['app']"}},
        {"path": "deep/name", "mode": 0o440, "fieldRef": {"fieldPath": "metadata.name"}}]);
    json!([
        {"name": "map", "configMap": {"name": "settings", "defaultMode": 0o640, "items": [
            {"key": "a", "path": "a"}, {"key": "b", "path": "deep/b", "mode": 0o604}]}},
        {"name": "secret", "secret": {"secretName": "settings", "defaultMode": 0o400}},
        {"name": "fields", "downwardAPI": {"items": fields}},
        {"name": "all", "projected": {"defaultMode": 0o444, "sources": [
            {"configMap": {"name": "settings"}},
            {"secret": {"name": "settings", "items": [{"key": "a", "path": "from-secret"}]}},
            {"downwardAPI": {"items": fields}},
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]}},
    ])
}

async fn modes_and_owners_are_as_asked(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    fixture.config_map("settings", json!({"a": "1", "b": "2"})).await?;
    fixture.secret("settings", json!({"a": "1"})).await?;
    let files = "map/a map/deep/b secret/a fields/label fields/deep/name all/a all/from-secret \
                 all/deep/name all/token";
    // Pod's security context; mode and owner of each of the files.
    let cases = [
        (
            "plain",
            json!({}),
            "640 0:0, 604 0:0, 400 0:0, 644 0:0, 440 0:0, 444 0:0, 444 0:0, 440 0:0, 444 0:0",
        ),
        (
            "user",
            json!({"runAsUser": 1234}),
            "640 0:0, 604 0:0, 400 0:0, 644 0:0, 440 0:0, 444 0:0, 444 0:0, 440 0:0, 600 1234:0",
        ),
        (
            "group",
            json!({"fsGroup": 4321}),
            "640 0:4321, 644 0:4321, 440 0:4321, 644 0:4321, 440 0:4321, 444 0:4321, \
             444 0:4321, 440 0:4321, 640 0:4321",
        ),
        (
            "both",
            json!({"runAsUser": 1234, "fsGroup": 4321}),
            "640 0:4321, 644 0:4321, 440 0:4321, 644 0:4321, 440 0:4321, 444 0:4321, \
             444 0:4321, 440 0:4321, 640 1234:4321",
        ),
    ];
    for (name, security, expected) in cases {
        let mut pod = fixture.pod(name, &every_kind());
        pod["spec"]["securityContext"] = security;
        let pod = fixture.run(&pod).await?;
        let command = format!("cd /; stat -L -c '%a %u:%g' {files}");
        let found = in_pod::shell(&pod, &command).await?;
        let found: Vec<&str> = found.lines().collect();
        ensure!(found == expected.split(", ").collect::<Vec<_>>(), "{name}: {found:?}");
        expect(&pod, "cat /all/token | cut -d. -f3 | grep -c .", "1").await?;
        expect(&pod, "cat /fields/label", name).await?;
        // Secrets, fields and tokens never reach a disk.
        let kinds = "cd /; for v in map secret fields all; do \
                     grep \" /$v \" /proc/mounts | cut -d' ' -f3 | grep -c tmpfs; done";
        let kinds = in_pod::shell(&pod, kinds).await;
        let kinds = kinds.unwrap_or_default();
        ensure!(kinds.ends_with("1\n1\n1\n"), "{name}: {kinds:?}");
        let written = in_pod::shell(&pod, "echo x > /all/new").await;
        ensure!(written.is_err(), "{name}: the volume can be written to");
    }
    Ok(())
}

async fn bytes_and_sizes_arrive_whole(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let metadata = json!({"name": "bytes", "namespace": fixture.namespace});
    // 0x00 to 0xff.
    let bytes = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7\
                 PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3\
                 eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq+wsbKz\
                 tLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v\
                 8PHy8/T19vf4+fr7/P3+/w==";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
        "binaryData": {"all": bytes}});
    fixture.cluster.create(&map).await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
        "data": {"all": bytes}});
    fixture.cluster.create(&secret).await?;
    // The API takes 1 MiB of data in one object; a volume of several may have more.
    let most = "x".repeat((1 << 20) - 64);
    for name in ["large-1", "large-2", "large-3"] {
        fixture.config_map(name, json!({name: most})).await?;
    }
    let too_large = fixture.config_map("too-large", json!({"k": "x".repeat((1 << 20) + 1)})).await;
    ensure!(too_large.is_err_and(|error| format!("{error:#}").contains("1048576")));
    let sources: Vec<Value> = ["large-1", "large-2", "large-3"]
        .iter()
        .map(|name| json!({"configMap": {"name": name}}))
        .collect();
    let volumes = json!([
        {"name": "map", "configMap": {"name": "bytes"}},
        {"name": "secret", "secret": {"secretName": "bytes"}},
        {"name": "large", "projected": {"sources": sources}},
    ]);
    let pod = fixture.run(&fixture.pod("a", &volumes)).await?;
    // Of the 256 bytes.
    let sum = "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880";
    let command = "sha256sum /map/all /secret/all | cut -d' ' -f1";
    expect(&pod, command, &format!("{sum}\n{sum}")).await?;
    let size = most.len();
    let command = "stat -L -c %s /large/large-1 /large/large-2 /large/large-3";
    expect(&pod, command, &format!("{size}\n{size}\n{size}")).await
}

async fn optional_objects_come_and_go(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    fixture.config_map("there", json!({"k": "1"})).await?;
    let items = json!([{"key": "k", "path": "k"}, {"key": "late", "path": "late"}]);
    let volumes = json!([
        {"name": "map", "configMap": {"name": "absent", "optional": true}},
        {"name": "secret", "secret": {"secretName": "absent", "optional": true}},
        {"name": "keys", "configMap": {"name": "there", "optional": true, "items": items}},
    ]);
    let pod = fixture.run(&fixture.pod("a", &volumes)).await?;
    let all =
        "cd /; for f in map/k secret/k keys/k keys/late; do cat $f 2>/dev/null || echo -; done";
    expect(&pod, all, "-\n-\n1-").await?;
    fixture.config_map("absent", json!({"k": "2"})).await?;
    fixture.secret("absent", json!({"k": "3"})).await?;
    fixture.patch("configmaps", "there", json!({"data": {"late": "4"}})).await?;
    until_prints(&pod, all, "2314").await?;
    fixture.cluster.client().delete(&fixture.path("configmaps", "absent")).await?;
    fixture.patch("configmaps", "there", json!({"data": {"k": null}})).await?;
    until_prints(&pod, all, "-\n3-\n4").await
}

async fn missing_objects_and_keys_are_named_until_they_come(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    fixture.config_map("some", json!({"k": "1"})).await?;
    fixture.secret("some", json!({"k": "2"})).await?;
    let item = json!([{"key": "no", "path": "no"}]);
    let map = |name: &str| json!({"configMap": {"name": name}});
    let cases = [
        ("map", map("late"), "configmap \"late\" not found"),
        ("secret", json!({"secret": {"secretName": "late"}}), "secret \"late\" not found"),
        (
            "map-key",
            json!({"configMap": {"name": "some", "items": item}}),
            "configmap references non-existent config key: no",
        ),
        (
            "secret-key",
            json!({"secret": {"secretName": "some", "items": item}}),
            "references non-existent secret key: no",
        ),
        (
            "sources",
            json!({"projected": {"sources": [
                {"secret": {"name": "late"}}, map("late"), map("some")]}}),
            "[secret \"late\" not found, configmap \"late\" not found]",
        ),
    ];
    for (name, source, _) in &cases {
        let mut volume = source.clone();
        volume["name"] = "v".into();
        fixture.cluster.create(&fixture.pod(name, &json!([volume]))).await?;
    }
    for (name, _, message) in &cases {
        let pod = fixture.cluster.get_json(&fixture.path("pods", name)).await?;
        let expected = format!("MountVolume.SetUp failed for volume \"v\" : {message}");
        wait::until(&expected, LIMIT, || async {
            let events = pods::events(&fixture.cluster, &pod).await?;
            let mut failed = events.iter().filter(|event| event["reason"] == "FailedMount");
            let met = failed.any(|event| {
                let message = event["message"].as_str().unwrap_or_default();
                event["type"] == "Warning" && message.starts_with(&expected)
            });
            Ok(if met { Look::Met(()) } else { Look::NotYet(json!(events).to_string()) })
        })
        .await?;
        let pod = fixture.cluster.get_json(&fixture.path("pods", name)).await?;
        ensure!(pod["status"]["phase"] == "Pending", "{name}: {}", pod["status"]);
    }
    fixture.config_map("late", json!({"k2": "3"})).await?;
    fixture.secret("late", json!({"k3": "4"})).await?;
    fixture.patch("configmaps", "some", json!({"data": {"no": "5"}})).await?;
    fixture.patch("secrets", "some", json!({"stringData": {"no": "6"}})).await?;
    for (name, _, _) in &cases {
        pods::wait_ready(&fixture.cluster, &fixture.path("pods", name), LIMIT).await?;
    }
    Ok(())
}

async fn deleted_object_stays_in_the_files(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    fixture.config_map("settings", json!({"k": "1"})).await?;
    fixture.secret("settings", json!({"k": "2"})).await?;
    let volumes = json!([
        {"name": "map", "configMap": {"name": "settings"}},
        {"name": "secret", "secret": {"secretName": "settings"}},
        {"name": "label", "downwardAPI": {"items": [
            {"path": "l", "fieldRef": {"fieldPath": "metadata.labels['mark']"}}]}},
    ]);
    let pod = fixture.run(&fixture.pod("a", &volumes)).await?;
    for kind in ["configmaps", "secrets"] {
        fixture.cluster.client().delete(&fixture.path(kind, "settings")).await?;
    }
    // The pod's files were looked at since then: its label has come.
    fixture.patch("pods", "a", json!({"metadata": {"labels": {"mark": "x"}}})).await?;
    until_prints(&pod, "cat /label/l", "x").await?;
    expect(&pod, "cat /map/k /secret/k", "12").await?;
    fixture.config_map("settings", json!({"k": "3"})).await?;
    until_prints(&pod, "cat /map/k /secret/k", "32").await
}

async fn reader_never_sees_half_an_update(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    fixture.config_map("settings", json!({"a": "0", "b": "0"})).await?;
    let volumes = json!([{"name": "map", "configMap": {"name": "settings"}},
        {"name": "notes", "emptyDir": {}}]);
    let mut pod = fixture.pod("a", &volumes);
    // It enters a generation and reads both keys there; a generation that is taken away meanwhile
    // is none that it saw.
    let script = "while ! test -e /notes/stop; do \
                    if cd -P /map/..data 2>/dev/null && a=$(cat a 2>/dev/null) && \
                       b=$(cat b 2>/dev/null); then \
                      test \"$a\" = \"$b\" || echo \"$a and $b\" >> /notes/torn; \
                      echo $a > /notes/last; fi; done";
    let reader = json!({
        "name": "reader", "image": integration::real_runtime::BUSYBOX_IMAGE,
        "command": ["/bin/sh", "-c", script],
        "volumeMounts": pod["spec"]["containers"][0]["volumeMounts"],
    });
    pod["spec"]["restartPolicy"] = "Never".into();
    let containers = pod["spec"]["containers"].as_array_mut().context("no containers")?;
    containers.push(reader);
    let pod = fixture.run(&pod).await?;
    for change in 1..=20 {
        let text = change.to_string();
        fixture.patch("configmaps", "settings", json!({"data": {"a": text, "b": text}})).await?;
        until_prints(&pod, "cat /notes/last", &text).await?;
    }
    expect(&pod, "touch /notes/stop; cat /notes/torn 2>/dev/null; ls -A /map | wc -l", "4").await
}

async fn unchanged_files_are_left_alone_across_a_restart(context: Arc<TestContext>) -> Result<()> {
    if peers_wanted() {
        return Ok(()); // They fetch new tokens.
    }
    let node = context.node(NodeOptions::default()).await?;
    let fixture = Fixture::on(&context, node).await?;
    fixture.config_map("settings", json!({"a": "1", "b": "2"})).await?;
    fixture.secret("settings", json!({"a": "1"})).await?;
    let pod = fixture.run(&fixture.pod("a", &every_kind())).await?;
    let generations = "cd /; for v in map secret fields all; do \
                       readlink $v/..data; stat -L -c %i $v/..data; ls -A $v | wc -l; done";
    let before = in_pod::shell(&pod, generations).await?;
    for _ in 0..2 {
        fixture.node.agent()?.kill9().await?;
        fixture.node.agent()?.start()?;
        // It has looked at the pod's files when a new label is there.
        let mark = fixture.node.agent()?.ids()[0].to_string();
        let patch = json!({"metadata": {"annotations": {"mark": mark}}});
        fixture.patch("pods", "a", patch).await?;
        let probe = fixture.pod(&format!("probe-{mark}"), &json!([]));
        fixture.run(&probe).await?;
        let after = in_pod::shell(&pod, generations).await?;
        ensure!(after == before, "{before} then {after}");
    }
    Ok(())
}

async fn restarted_agent_keeps_running_pods_fresh(context: Arc<TestContext>) -> Result<()> {
    let node = context.node(NodeOptions::default()).await?;
    let fixture = Fixture::on(&context, node).await?;
    fixture.config_map("settings", json!({"a": "1", "b": "2"})).await?;
    fixture.secret("settings", json!({"a": "1"})).await?;
    let pod = fixture.run(&fixture.pod("a", &every_kind())).await?;
    fixture.node.agent()?.kill9().await?;
    // One change while nobody looks, others afterwards.
    fixture.patch("configmaps", "settings", json!({"data": {"a": "3"}})).await?;
    fixture.node.agent()?.start()?;
    until_prints(&pod, "cat /map/a /all/a", "33").await?;
    fixture.patch("secrets", "settings", json!({"stringData": {"a": "4"}})).await?;
    fixture.patch("pods", "a", json!({"metadata": {"labels": {"app": "new"}}})).await?;
    until_prints(&pod, "cat /secret/a /all/from-secret /fields/label", "44new").await?;
    let after = fixture.cluster.get_json(&fixture.path("pods", "a")).await?;
    let id = |pod: &Value| pods::container_id(pod, "server");
    ensure!(id(&after)? == id(&pod)?, "the container was restarted: {}", after["status"]);
    Ok(())
}

async fn volume_mounted_into_another_finds_its_place(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    fixture.config_map("settings", json!({"k": "1"})).await?;
    let volumes = json!([
        {"name": "map", "configMap": {"name": "settings"}},
        {"name": "cache", "emptyDir": {}},
    ]);
    let mut pod = fixture.pod("a", &volumes);
    pod["spec"]["containers"][0]["volumeMounts"][1]["mountPath"] = "/map/deep/cache".into();
    let pod = fixture.run(&pod).await?;
    expect(&pod, "echo x > /map/deep/cache/f && cat /map/k /map/deep/cache/f", "1x").await?;
    fixture.patch("configmaps", "settings", json!({"data": {"k": "2"}})).await?;
    until_prints(&pod, "cat /map/k /map/deep/cache/f", "2x").await
}

async fn path_that_leads_out_is_refused(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    fixture.config_map("settings", json!({"k": "1"})).await?;
    for path in ["../k", "a/../../k", "/k", "..data"] {
        let items = json!([{"key": "k", "path": path}]);
        for volume in [
            json!({"name": "v", "configMap": {"name": "settings", "items": items}}),
            json!({"name": "v", "projected": {"sources": [
                {"configMap": {"name": "settings", "items": items}}]}}),
        ] {
            let created = fixture.cluster.create(&fixture.pod("bad", &json!([volume]))).await;
            ensure!(created.is_err(), "the API takes {path}");
        }
    }
    // No API server stands between a manifest and the node.
    let name = format!("bad-{}", fixture.namespace);
    let items =
        json!([{"path": "../../../../escaped", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let volume = json!({"name": "v", "downwardAPI": {"items": items}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": fixture.namespace},
        "spec": {
            "containers": [{
                "name": "main", "image": integration::real_runtime::PAUSE_IMAGE,
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }],
            "volumes": [volume],
        },
    });
    let manifest = fixture.node.manifests().join(format!("{name}.json"));
    std::fs::write(&manifest, serde_json::to_string(&pod)?)?;
    // A pod that is made after it shows that the manifest was dealt with.
    let other = fixture.run(&fixture.pod("other", &json!([]))).await?;
    ensure!(pods::is_ready(&other));
    let escaped = fixture.node.root_directory().join("pods");
    let found = std::fs::read_dir(&escaped)?.filter_map(Result::ok);
    let found: Vec<_> = found.filter(|entry| entry.file_name() == "escaped").collect();
    std::fs::remove_file(&manifest)?;
    ensure!(found.is_empty(), "{found:?}");
    let mirror = fixture.path("pods", &format!("{name}-{}", fixture.node.name()));
    let mirror = fixture.cluster.client().find(&mirror).await?;
    ensure!(mirror.is_none_or(|mirror| !pods::is_ready(&mirror)), "the pod runs");
    Ok(())
}

/// What is changed, how, and the file that shows it.
const KINDS: [(&str, &str); 5] = [
    ("configMap", "/map/k"),
    ("secret", "/secret/k"),
    ("projected", "/all/k"),
    ("labels", "/fields/labels"),
    ("annotations", "/fields/annotations"),
];
const CHANGES: usize = 15;

async fn changes_are_in_the_files_within_two_seconds(context: Arc<TestContext>) -> Result<()> {
    if peers_wanted() {
        return Ok(()); // Theirs take up to a minute and more.
    }
    let fixture = Fixture::new(&context).await?;
    for name in ["settings", "projected"] {
        fixture.config_map(name, json!({"k": "none"})).await?;
    }
    fixture.secret("settings", json!({"k": "none"})).await?;
    let field = |path: &str| json!({"fieldPath": format!("metadata.{path}['mark']")});
    let volumes = json!([
        {"name": "map", "configMap": {"name": "settings"}},
        {"name": "secret", "secret": {"secretName": "settings"}},
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "projected"}}]}},
        {"name": "fields", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": field("labels")},
            {"path": "annotations", "fieldRef": field("annotations")}]}},
    ]);
    let pod = fixture.run(&fixture.pod("a", &volumes)).await?;
    in_pod::listening(&pod).await?;
    for (kind, file) in KINDS {
        let mut times = Vec::new();
        for change in 0..CHANGES {
            let value = format!("{kind}-{change}");
            let began = Instant::now();
            write(&fixture, kind, &value).await?;
            // The container itself waits for it.
            let command = format!("until test \"$(cat {file})\" = {value}; do sleep 0.01; done");
            in_pod::shell(&pod, &command).await?;
            times.push(began.elapsed());
        }
        times.sort();
        let (p50, longest) = (times[CHANGES / 2], times[CHANGES - 1]);
        integration::console::print(&format!(
            "content: {kind}: {CHANGES} changes, API write to file in the container: \
             p50 {} ms, longest {} ms\n",
            p50.as_millis(),
            longest.as_millis()
        ));
        ensure!(p50 < Duration::from_secs(2), "{kind}: p50 {p50:?} of {times:?}");
    }
    Ok(())
}

async fn write(fixture: &Fixture, kind: &str, value: &str) -> Result<()> {
    let data = json!({"data": {"k": value}});
    match kind {
        "configMap" => fixture.patch("configmaps", "settings", data).await,
        "projected" => fixture.patch("configmaps", "projected", data).await,
        "secret" => {
            let data = json!({"stringData": {"k": value}});
            fixture.patch("secrets", "settings", data).await
        }
        field => {
            let patch = json!({"metadata": {field: {"mark": value}}});
            fixture.patch("pods", "a", patch).await
        }
    }
}

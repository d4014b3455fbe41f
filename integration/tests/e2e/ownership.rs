//! fsGroup: whose the files in volumes are.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::claims::{claim, local, mount, mount_claim, volume};
use integration::runner::Test;
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

pub fn tests() -> Vec<Test> {
    integration::tests![
        every_kind_of_volume_is_the_groups,
        policies_say_which_files_of_a_local_volume_change,
        links_in_a_local_volume_lead_nowhere,
    ]
}

/// Group and permission bits of paths, as the container sees them.
async fn seen(pod: &Value, paths: &str) -> Result<Vec<String>> {
    let text = in_pod::shell(pod, &format!("stat -c '%g %a' {paths}")).await?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn grouped(mut pod: Value, policy: &str) -> Value {
    pod["spec"]["securityContext"] = json!({
        "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 3000, "fsGroupChangePolicy": policy,
    });
    pod
}

async fn every_kind_of_volume_is_the_groups(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let host = node.directory().join(format!("{namespace}-host"));
    fs::create_dir(&host)?;
    for (kind, field) in [("ConfigMap", "data"), ("Secret", "stringData")] {
        let object = json!({"apiVersion": "v1", "kind": kind, field: {"file": "x"},
            "metadata": {"name": "files", "namespace": namespace}});
        cluster.create(&object).await?;
    }
    let mut pod = grouped(services::server_pod(&namespace, "a", node.name(), "a"), "Always");
    let labels = json!([{"path": "file", "fieldRef": {"fieldPath": "metadata.labels"}}]);
    for (name, source) in [
        ("disk", json!({"emptyDir": {}})),
        ("memory", json!({"emptyDir": {"medium": "Memory"}})),
        ("host", json!({"hostPath": {"path": host}})),
        ("map", json!({"configMap": {"name": "files", "defaultMode": 0o400}})),
        ("secret", json!({"secret": {"secretName": "files", "defaultMode": 0o400}})),
        ("down", json!({"downwardAPI": {"items": labels, "defaultMode": 0o600}})),
        ("mixed", json!({"projected": {"sources": [{"configMap": {"name": "files"}}]}})),
    ] {
        let mut volume = source;
        volume["name"] = name.into();
        mount(&mut pod, &volume, &format!("/v/{name}"));
    }
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let groups = in_pod::shell(&pod, "id -G").await?;
    ensure!(groups.split_whitespace().any(|group| group == "3000"), "{groups}");
    let directories = seen(&pod, "/v/disk /v/memory /v/host").await?;
    ensure!(directories[..2] == ["3000 2777", "3000 3777"], "{directories:?}");
    ensure!(!directories[2].starts_with("3000 "), "{directories:?}");
    let files = "-L /v/map/file /v/secret/file /v/down/file /v/mixed/file";
    let files = seen(&pod, files).await?;
    ensure!(files == ["3000 440", "3000 440", "3000 640", "3000 644"], "{files:?}");
    for path in ["/v/map", "/v/secret", "/v/down", "/v/mixed"] {
        let directory = seen(&pod, path).await?;
        // A tmpfs is sticky by itself.
        let modes = ["3000 2777", "3000 3777"];
        ensure!(modes.contains(&&*directory[0]), "{path}: {directory:?}");
        ensure!(in_pod::shell(&pod, &format!("cat {path}/file")).await.is_ok(), "{path}");
    }
    let made = "touch /v/disk/new /v/memory/new; stat -c '%u %g' /v/disk/new /v/memory/new";
    let made = in_pod::shell(&pod, made).await?;
    ensure!(made == "1000 3000\n1000 3000\n", "{made}");
    ensure!(in_pod::shell(&pod, "touch /v/host/new").await.is_err(), "the host's path is open");
    Ok(())
}

/// A local volume with a file two directories down, and the claim for it.
async fn provide(context: &TestContext, namespace: &str, name: &str) -> Result<PathBuf> {
    let (cluster, node) = (context.cluster().await?, context.shared_node().await?);
    let disk = node.directory().join(format!("{namespace}-{name}"));
    fs::create_dir_all(disk.join("sub/deep"))?;
    fs::write(disk.join("sub/deep/file"), "x")?;
    set(&disk.join("sub/deep/file"), 0, 0o600)?;
    set(&disk.join("sub"), 0, 0o700)?;
    set(&disk, 0, 0o755)?;
    let source = local(&disk, node.name());
    let volume = volume(&format!("{namespace}-{name}"), (namespace, name), &source);
    cluster.create(&volume).await?;
    cluster.create(&claim(namespace, name)).await?;
    Ok(disk)
}

fn set(path: &Path, group: u32, mode: u32) -> Result<()> {
    chown(path, Some(0), Some(group))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

async fn policies_say_which_files_of_a_local_volume_change(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let untouched = ["0 700", "0 600"];
    let handed = ["3000 2770", "3000 660"];
    // name; policy; whether the top is right from the start; the directory and file below
    for (name, policy, fits, below) in [
        ("always", "Always", true, handed),
        ("matches", "OnRootMismatch", true, untouched),
        ("differs", "OnRootMismatch", false, handed),
    ] {
        let disk = provide(&context, &namespace, name).await?;
        if fits {
            set(&disk, 3000, 0o2775)?;
        }
        let mut pod = services::server_pod(&namespace, name, node.name(), name);
        mount_claim(&mut pod, "data", name, "/data");
        let mut pod = grouped(pod, policy);
        // Root sees everything; the group is what is asked about.
        pod["spec"]["securityContext"]["runAsUser"] = 0.into();
        let pod = pods::run(&cluster, &pod, LIMIT).await?;
        let top = seen(&pod, "/data").await?;
        ensure!(top == ["3000 2775"], "{name}: {top:?}");
        let found = seen(&pod, "/data/sub /data/sub/deep/file").await?;
        ensure!(found == below, "{name}: {found:?} instead of {below:?}");
    }
    Ok(())
}

async fn links_in_a_local_volume_lead_nowhere(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let disk = provide(&context, &namespace, "data").await?;
    let secret = node.directory().join(format!("{namespace}-secret"));
    let hidden = node.directory().join(format!("{namespace}-hidden"));
    fs::write(&secret, "x")?;
    set(&secret, 0, 0o600)?;
    fs::create_dir(&hidden)?;
    set(&hidden, 0, 0o700)?;
    symlink(&secret, disk.join("link"))?;
    symlink(&hidden, disk.join("sub/out"))?;
    let mut pod = services::server_pod(&namespace, "a", node.name(), "a");
    mount_claim(&mut pod, "data", "data", "/data");
    let pod = pods::run(&cluster, &grouped(pod, "Always"), LIMIT).await?;
    let link = seen(&pod, "/data/link /data/sub/out").await?;
    ensure!(link.iter().all(|line| line.starts_with("3000 ")), "{link:?}");
    for (path, mode) in [(&secret, 0o600), (&hidden, 0o700)] {
        let meta = fs::metadata(path)?;
        let group = std::os::unix::fs::MetadataExt::gid(&meta);
        ensure!(group == 0 && meta.permissions().mode() & 0o7777 == mode, "{path:?}: {meta:?}");
    }
    let written = "echo mine > /data/sub/deep/new && cat /data/sub/deep/file";
    ensure!(in_pod::shell(&pod, written).await? == "x");
    Ok(())
}

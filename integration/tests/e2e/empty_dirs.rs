//! Directories of a pod's own: media, sizes and modes.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::claims::mount;
use integration::runner::Test;
use integration::{TestContext, in_pod, pods, services};
use serde_json::json;

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![media_and_sizes_are_as_asked, huge_pages_that_nobody_asks_for_are_refused]
}

async fn media_and_sizes_are_as_asked(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = services::server_pod(&namespace, "a", node.name(), "a");
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
    for (name, source) in [
        ("disk", json!({})),
        ("limited", json!({"sizeLimit": "1Mi"})),
        ("small", json!({"medium": "Memory", "sizeLimit": "8Mi"})),
        ("open", json!({"medium": "Memory"})),
        ("large", json!({"medium": "Memory", "sizeLimit": "1Gi"})),
    ] {
        mount(&mut pod, &json!({"name": name, "emptyDir": source}), &format!("/v/{name}"));
    }
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let mounts = in_pod::shell(&pod, "cat /proc/self/mountinfo").await?;
    let release = in_pod::shell(&pod, "uname -r").await?;
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    let release = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let line = |path: &str| {
        mounts
            .lines()
            .find(|line| line.split(' ').nth(4) == Some(path))
            .with_context(|| format!("{path} is no mount: {mounts}"))
    };
    // The pod may use 64 MiB, so no volume of its can hold more.
    for (path, size) in [("/v/small", "8192k"), ("/v/open", "65536k"), ("/v/large", "65536k")] {
        let line = line(path)?;
        let options = line.rsplit(' ').next().unwrap_or_default();
        ensure!(line.contains(" - tmpfs "), "{line}");
        ensure!(options.split(',').any(|option| option == format!("size={size}")), "{line}");
        if release >= (6, 4) {
            ensure!(options.split(',').any(|option| option == "noswap"), "{line}");
        }
    }
    let own = |path| line(path).map(|line| line.split(' ').nth(3).unwrap_or_default().to_owned());
    for path in ["/v/disk", "/v/limited"] {
        ensure!(own(path)?.contains("/volumes/kubernetes.io~empty-dir/"), "{}", line(path)?);
    }
    let modes = in_pod::shell(&pod, "stat -c %a /v/disk /v/limited /v/small").await?;
    ensure!(modes == "777\n777\n1777\n", "{modes}");
    let full = in_pod::shell(&pod, "dd if=/dev/zero of=/v/small/file bs=1M count=9").await;
    ensure!(full.is_err(), "a volume of 8 MiB took 9: {full:?}");
    Ok(())
}

async fn huge_pages_that_nobody_asks_for_are_refused(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = services::server_pod(&namespace, "a", node.name(), "a");
    mount(&mut pod, &json!({"name": "huge", "emptyDir": {"medium": "HugePages-2Mi"}}), "/huge");
    let pod = cluster.create(&pod).await?;
    let events = pods::wait_events(&cluster, &pod, &["FailedMount"], LIMIT).await?;
    let text = "MountVolume.SetUp failed for volume \"huge\" : medium HugePages-2Mi: hugePages \
                storage requested, but there is no resource request for huge pages";
    let said = |event: &serde_json::Value| {
        event["message"].as_str().is_some_and(|message| message.contains(text))
    };
    ensure!(events.iter().any(said), "{events:?}");
    Ok(())
}

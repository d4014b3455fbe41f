//! Limits as the kernel holds them, on whichever cgroup version the machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![kernel_holds_the_limits_of_containers_pods_and_classes]
}

/// The hierarchy that has a controller: its own on v1, the only one on v2.
pub(crate) fn hierarchy(controller: &str) -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let v1 = text.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut source = source.split_whitespace();
        let is_v1 = source.next() == Some("cgroup");
        let has = source.nth(1)?.split(',').any(|option| option == controller);
        (is_v1 && has).then(|| mount.split_whitespace().nth(4).map(PathBuf::from))?
    });
    let v2 = PathBuf::from("/sys/fs/cgroup");
    v1.or_else(|| v2.join("cgroup.controllers").exists().then_some(v2))
        .with_context(|| format!("no hierarchy with the controller {controller}"))
}

/// Shares, quota in µs for each 100 ms, and memory limit of one cgroup; `None` is no limit.
#[derive(Debug, PartialEq, Eq)]
struct Limits {
    shares: u64,
    quota: Option<u64>,
    memory: Option<u64>,
}

fn read_limits(cgroup: &str) -> Result<Limits> {
    let (cpu, memory) = (hierarchy("cpu")?.join(cgroup), hierarchy("memory")?.join(cgroup));
    if memory.join("memory.max").exists() {
        return read_v2(&cpu);
    }
    let quota = number(&cpu.join("cpu.cfs_quota_us"))?;
    ensure!(number(&cpu.join("cpu.cfs_period_us"))? == Some(100_000));
    // Without a limit the kernel shows the greatest number of whole pages.
    let limit = number(&memory.join("memory.limit_in_bytes"))?;
    Ok(Limits {
        shares: number(&cpu.join("cpu.shares"))?.context("no shares")?,
        quota,
        memory: limit.filter(|limit| *limit < i64::MAX as u64 / 2),
    })
}

fn read_v2(folder: &Path) -> Result<Limits> {
    let max = fs::read_to_string(folder.join("cpu.max"))?;
    let weight = number(&folder.join("cpu.weight"))?.context("no weight")?;
    Ok(Limits {
        // The inverse of the conversion that the cgroup v2 proposal of Kubernetes gives.
        shares: 2 + (weight - 1) * 262_142 / 9_999,
        quota: max.split_whitespace().next().and_then(|quota| quota.parse().ok()),
        memory: number(&folder.join("memory.max"))?,
    })
}

/// The number in a file; `None` for `max` and for -1.
fn number(path: &Path) -> Result<Option<u64>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().parse().ok())
}

async fn expect(cgroup: &str, expected: Limits) -> Result<()> {
    wait::until(&format!("{expected:?} of {cgroup}"), LIMIT, || async {
        let found = read_limits(cgroup)?;
        // The conversion to weights of v2 loses some shares.
        let near = found.shares.abs_diff(expected.shares) <= expected.shares / 4 + 27;
        let exact = found.shares == expected.shares || !has_v1("cpu") && near;
        Ok(if exact && found.quota == expected.quota && found.memory == expected.memory {
            Look::Met(())
        } else {
            Look::NotYet(format!("{found:?}"))
        })
    })
    .await
}

fn has_v1(controller: &str) -> bool {
    hierarchy(controller).is_ok_and(|path| !path.join("cgroup.controllers").exists())
}

fn with_resources(mut pod: Value, resources: &Value) -> Value {
    pod["spec"]["containers"][0]["resources"] = resources.clone();
    pod
}

const MIB: u64 = 1024 * 1024;

async fn kernel_holds_the_limits_of_containers_pods_and_classes(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let make = |name: &str, resources: Value| {
        let pod = services::server_pod(&namespace, name, node.name(), name);
        let cluster = Arc::clone(&cluster);
        async move { pods::run(&cluster, &with_resources(pod, &resources), LIMIT).await }
    };
    let (guaranteed, burstable, besteffort) = futures::try_join!(
        make("guaranteed", json!({"limits": {"cpu": "200m", "memory": "96Mi"}})),
        make(
            "burstable",
            json!({
                "requests": {"cpu": "100m", "memory": "32Mi"},
                "limits": {"cpu": "300m", "memory": "64Mi"},
            })
        ),
        make("besteffort", json!({})),
    )?;
    let top = format!("{}/kubepods", node.cgroup_root().trim_start_matches('/'));
    let container = |pod: &Value, class: &str| -> Result<(String, String)> {
        let folder = format!("{top}{class}/pod{}", pods::uid(pod)?);
        Ok((folder.clone(), format!("{folder}/{}", pods::container_id(pod, "server")?)))
    };

    let limits = || Limits { shares: 204, quota: Some(20_000), memory: Some(96 * MIB) };
    let (folder, inner) = container(&guaranteed, "")?;
    expect(&folder, limits()).await?;
    expect(&inner, limits()).await?;

    let limits = || Limits { shares: 102, quota: Some(30_000), memory: Some(64 * MIB) };
    let (folder, inner) = container(&burstable, "/burstable")?;
    expect(&folder, limits()).await?;
    expect(&inner, limits()).await?;
    expect(&format!("{top}/burstable"), Limits { shares: 102, quota: None, memory: None }).await?;

    let limits = || Limits { shares: 2, quota: None, memory: None };
    let (folder, inner) = container(&besteffort, "/besteffort")?;
    expect(&folder, limits()).await?;
    expect(&inner, limits()).await?;
    expect(&format!("{top}/besteffort"), limits()).await?;

    check_top(&node, &top).await?;
    check_oom_scores(&node, &guaranteed, &burstable, &besteffort).await
}

/// All pods together get what the Node has.
async fn check_top(node: &Node, top: &str) -> Result<()> {
    let object = node.cluster().get_json(&node.api_path()).await?;
    let capacity = &object["status"]["capacity"];
    let cpus: u64 = capacity["cpu"].as_str().context("no cpu")?.parse()?;
    let memory = capacity["memory"].as_str().context("no memory")?;
    let memory: u64 = memory.strip_suffix("Ki").context("memory not in Ki")?.parse()?;
    let limits = Limits { shares: cpus * 1024, quota: None, memory: Some(memory * 1024) };
    expect(top, limits).await
}

async fn check_oom_scores(
    node: &Node,
    guaranteed: &Value,
    burstable: &Value,
    besteffort: &Value,
) -> Result<()> {
    let object = node.cluster().get_json(&node.api_path()).await?;
    let memory = object["status"]["capacity"]["memory"].as_str().context("no memory")?;
    let memory: i64 = memory.trim_end_matches("Ki").parse::<i64>()? * 1024;
    let read = |pod| in_pod::shell(pod, "cat /proc/1/oom_score_adj");
    let score = |text: String| text.trim().parse::<i64>();
    let (guaranteed, burstable, besteffort) =
        futures::try_join!(read(guaranteed), read(burstable), read(besteffort))?;
    ensure!(score(besteffort)? == 1000);
    // A request of memory lowers the score by its share of the machine, in thousandths.
    let expected = (1000 - 1000 * 32 * 1024 * 1024 / memory).clamp(3, 999);
    let found = score(burstable)?;
    ensure!(found == expected, "{found} instead of {expected}");
    // Where a machine forbids to lower a score, containerd keeps its own.
    let own: i64 = fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse()?;
    let found = score(guaranteed)?;
    ensure!(found == -997 || found == own, "{found}");
    Ok(())
}

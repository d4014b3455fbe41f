//! The Node and its Lease as others see them.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::TestContext;
use integration::agent_config::KUBELET_PORT;
use integration::node::{NodeOptions, condition, peers_wanted};
use integration::runner::Test;
use integration::wait::{self, Look};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        node_describes_its_machine,
        lease_is_renewed_every_ten_seconds,
        node_says_that_it_waits_for_the_network,
        unknown_field_of_the_configuration_is_named,
    ]
}

async fn node_describes_its_machine(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let object = cluster.get_json(&node.api_path()).await?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let labels = &object["metadata"]["labels"];
    for (name, value) in [
        ("kubernetes.io/hostname", node.name()),
        ("kubernetes.io/arch", architecture),
        ("kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
    ] {
        ensure!(labels[name] == value, "{name}: {labels}");
    }
    let status = &object["status"];
    let addresses = json!([
        {"type": "InternalIP", "address": node.place().v4().to_string()},
        {"type": "Hostname", "address": node.name()},
    ]);
    ensure!(status["addresses"] == addresses, "{}", status["addresses"]);
    ensure!(status["daemonEndpoints"]["kubeletEndpoint"]["Port"] == KUBELET_PORT);
    check_resources(status)?;
    check_system(&status["nodeInfo"], architecture)?;
    for (kind, wanted, reason) in [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ] {
        let found = condition(&object, kind).with_context(|| format!("no {kind}"))?;
        ensure!(found["status"] == wanted && found["reason"] == reason, "{kind}: {found}");
        ensure!(found["lastHeartbeatTime"].is_string(), "{kind}: {found}");
        ensure!(found["lastTransitionTime"].is_string(), "{kind}: {found}");
    }
    let images = status["images"].as_array().context("no images")?;
    let has = |name: &str| {
        images.iter().any(|image| {
            let names = image["names"].as_array();
            names.into_iter().flatten().any(|found| found == name) && image["sizeBytes"].is_u64()
        })
    };
    ensure!(has(integration::real_runtime::BUSYBOX_IMAGE), "{images:?}");
    let annotation = "volumes.kubernetes.io/controller-managed-attach-detach";
    ensure!(object["metadata"]["annotations"][annotation] == "true", "{}", object["metadata"]);
    Ok(())
}

fn check_resources(status: &Value) -> Result<()> {
    let (capacity, allocatable) = (&status["capacity"], &status["allocatable"]);
    let cpus = std::thread::available_parallelism()?.to_string();
    ensure!(capacity["cpu"] == cpus.as_str() && allocatable["cpu"] == cpus.as_str(), "{capacity}");
    ensure!(capacity["pods"] == "110" && allocatable["pods"] == "110", "{capacity}");
    let kibibytes = |value: &Value| -> Result<u64> {
        let text = value.as_str().unwrap_or_default();
        Ok(text.strip_suffix("Ki").with_context(|| format!("{value} is not in Ki"))?.parse()?)
    };
    let memory = fs::read_to_string("/proc/meminfo")?;
    let total = memory.split_whitespace().nth(1).context("no MemTotal")?.parse::<u64>()?;
    ensure!(kibibytes(&capacity["memory"])? == total, "{capacity}, machine {total}");
    // What the configuration keeps free before pods are evicted.
    ensure!(kibibytes(&allocatable["memory"])? == total - 100 * 1024, "{allocatable}");
    for name in ["ephemeral-storage", "hugepages-2Mi"] {
        ensure!(capacity[name].is_string() && allocatable[name].is_string(), "{name}: {status}");
    }
    Ok(())
}

fn check_system(info: &Value, architecture: &str) -> Result<()> {
    let text = |name: &str| info[name].as_str().unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    ensure!(text("kernelVersion") == release.trim(), "{info}");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    ensure!(text("bootID") == boot.trim(), "{info}");
    ensure!(text("operatingSystem") == "linux" && text("architecture") == architecture, "{info}");
    ensure!(text("containerRuntimeVersion").starts_with("containerd://"), "{info}");
    ensure!(text("kubeletVersion").starts_with("v1."), "{info}");
    ensure!(!text("osImage").is_empty() && !text("machineID").is_empty(), "{info}");
    Ok(())
}

async fn lease_is_renewed_every_ten_seconds(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let path =
        format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}", node.name());
    let lease = wait::until("lease", LIMIT, || async {
        let lease = cluster.client().find(&path).await?;
        Ok(lease.map_or_else(|| Look::NotYet("none".to_owned()), Look::Met))
    })
    .await?;
    let spec = &lease["spec"];
    ensure!(spec["holderIdentity"] == node.name(), "{spec}");
    ensure!(spec["leaseDurationSeconds"] == 40, "{spec}");
    let owner = &lease["metadata"]["ownerReferences"][0];
    ensure!(owner["kind"] == "Node" && owner["name"] == node.name(), "{lease}");
    let collection = format!(
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases?fieldSelector=metadata.name%3D{}",
        node.name()
    );
    let mut watch = cluster.watch(&collection).await?;
    let limit = Duration::from_secs(30);
    let first = watch.until("renewal", limit, |event| event.kind == "MODIFIED").await?;
    let second = watch.until("renewal", limit, |event| event.kind == "MODIFIED").await?;
    let between = second.at - first.at;
    let expected = Duration::from_secs(8)..Duration::from_secs(13);
    ensure!(expected.contains(&between), "renewed after {between:?}");
    ensure!(first.object["spec"]["renewTime"] != second.object["spec"]["renewTime"]);
    Ok(())
}

async fn node_says_that_it_waits_for_the_network(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let options = NodeOptions {
        agent_args: vec![
            "--node-labels=noded.test/color=green,plain=yes".to_owned(),
            "--register-with-taints=noded.test/new=true:NoSchedule".to_owned(),
        ],
        ..NodeOptions::default()
    };
    let node = context.bare_node(options).await?;
    node.start_agent()?;
    let object = wait::until("condition Ready that names the network", LIMIT, || async {
        node.agent()?.expect_running()?;
        let object = cluster.get_json(&node.api_path()).await?;
        let ready = condition(&object, "Ready").cloned().unwrap_or_default();
        let named = ready["message"].as_str().is_some_and(|m| m.contains("NetworkPluginNotReady"));
        Ok(if ready["status"] == "False" && named {
            Look::Met(object)
        } else {
            Look::NotYet(ready.to_string())
        })
    })
    .await?;
    ensure!(condition(&object, "Ready").is_some_and(|r| r["reason"] == "KubeletNotReady"));
    let labels = &object["metadata"]["labels"];
    ensure!(labels["noded.test/color"] == "green" && labels["plain"] == "yes", "{labels}");
    let taints = object["spec"]["taints"].as_array().context("no taints")?;
    let ours = json!({"key": "noded.test/new", "value": "true", "effect": "NoSchedule"});
    ensure!(taints.contains(&ours), "{taints:?}");
    // The administrator takes it in use.
    let without: Vec<&Value> = taints.iter().filter(|taint| **taint != ours).collect();
    let patch = json!({"spec": {"taints": without}});
    cluster.client().merge_patch(&node.api_path(), &patch).await?;
    node.join().await
}

async fn unknown_field_of_the_configuration_is_named(context: Arc<TestContext>) -> Result<()> {
    if peers_wanted() {
        return Ok(());
    }
    let options = NodeOptions { kubelet_config: json!({"maxPodz": 5}), ..NodeOptions::default() };
    let node = context.bare_node(options).await?;
    let agent = node.start_agent()?;
    wait::until("end of the agent", LIMIT, || async {
        Ok(match agent.is_running() {
            true => Look::NotYet("it runs".to_owned()),
            false => Look::Met(()),
        })
    })
    .await?;
    let log = agent.log_text();
    ensure!(log.lines().any(|line| line.contains("maxPodz")), "log: {log}");
    Ok(())
}

//! What a process may do and who it is, seen from inside.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions};
use integration::real_cluster::Cluster;
use integration::registry::{Registry, RegistryOptions};
use integration::runner::Test;
use integration::story::Story;
use integration::{TestContext, in_pod, pods, services, wait};
use serde_json::{Value, json};

use crate::LIMIT;

/// Bits in the kernel's sets of capabilities.
const CAP_CHOWN: u32 = 0;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

pub fn tests() -> Vec<Test> {
    integration::tests![
        users_and_groups_come_from_container_pod_and_image,
        root_is_refused_to_those_who_must_not_be_root,
        groups_of_the_image_are_merged_unless_the_policy_is_strict,
        capabilities_are_those_asked_for,
        seccomp_profiles_confine_and_a_missing_one_is_waited_for,
        seccomp_default_confines_what_asks_for_nothing,
        kernel_files_are_hidden_and_read_only,
        sysctls_are_set_in_either_spelling,
        namespaces_are_the_nodes_or_the_pods_as_asked,
        app_armor_profile_needs_a_kernel_that_has_it,
    ]
}

struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        Self::on(context, context.shared_node().await?).await
    }

    async fn on(context: &TestContext, node: Arc<Node>) -> Result<Self> {
        let (cluster, namespace) = (context.cluster().await?, context.namespace().await?);
        Ok(Self { cluster, node, namespace })
    }

    /// A pod that takes commands, with these security settings of pod and container.
    fn pod(&self, name: &str, of_pod: Value, of_container: Value) -> Value {
        let mut pod = services::server_pod(&self.namespace, name, self.node.name(), name);
        pod["spec"]["securityContext"] = of_pod;
        pod["spec"]["containers"][0]["securityContext"] = of_container;
        pod
    }

    async fn run(&self, pod: &Value) -> Result<Value> {
        pods::run(&self.cluster, pod, LIMIT).await
    }

    fn path(&self, name: &str) -> String {
        pods::path(&self.namespace, name)
    }

    /// Waits until the pod's first container waits for this reason; answers with the message.
    async fn waiting(&self, name: &str, reason: &str) -> Result<String> {
        let pod = pods::wait_for(&self.cluster, &self.path(name), LIMIT, |pod| {
            waiting(pod)["reason"] == reason
        })
        .await?;
        Ok(waiting(&pod)["message"].as_str().unwrap_or_default().to_owned())
    }
}

fn waiting(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["waiting"]
}

/// The value of a line of `/proc/self/status`.
async fn status_line(pod: &Value, name: &str) -> Result<String> {
    let text = in_pod::shell(pod, "cat /proc/self/status").await?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    Ok(line.with_context(|| format!("no {name}: {text}"))?.trim().to_owned())
}

async fn users_and_groups_come_from_container_pod_and_image(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let of_pod = json!({"runAsUser": 1234, "runAsGroup": 2345, "supplementalGroups": [4567]});
    for (name, of_container, uid, gid) in [
        ("of-pod", json!({}), 1234, 2345),
        ("of-container", json!({"runAsUser": 11, "runAsGroup": 22}), 11, 22),
    ] {
        let pod = fixture.run(&fixture.pod(name, of_pod.clone(), of_container)).await?;
        let ids = in_pod::shell(&pod, "id -u; id -g; id -G").await?;
        ensure!(ids == format!("{uid}\n{gid}\n{gid} 4567\n"), "{name}: {ids}");
        let user = &pods::container_status(&pod, "server")?["user"]["linux"];
        ensure!(user["uid"] == uid && user["gid"] == gid, "{name}: {user}");
        let groups = user["supplementalGroups"].as_array().context("no groups in the status")?;
        ensure!(groups.contains(&json!(4567)), "{name}: {user}");
    }
    let archive = fixture.cluster.ground().image_archive("agnhost");
    for (name, user) in [("by-name", "nobody"), ("by-number", "65534")] {
        let options = RegistryOptions { user: Some(user), ..RegistryOptions::default() };
        let registry = Registry::serve(&archive, options).await?;
        fixture.node.runtime().trust_registry(&registry.address().to_string())?;
        let mut pod = fixture.pod(name, json!({}), json!({}));
        pod["spec"]["containers"][0]["image"] =
            format!("{}/{}/{name}:1", registry.address(), fixture.namespace).into();
        let pod = fixture.run(&pod).await?;
        let ids = in_pod::shell(&pod, "id -u").await?;
        ensure!(ids == "65534\n", "{name}: {ids}");
    }
    Ok(())
}

async fn root_is_refused_to_those_who_must_not_be_root(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let archive = fixture.cluster.ground().image_archive("busybox");
    let options = RegistryOptions { user: Some("nobody"), ..RegistryOptions::default() };
    let registry = Registry::serve(&archive, options).await?;
    fixture.node.runtime().trust_registry(&registry.address().to_string())?;
    let mut named = fixture.pod("named", json!({"runAsNonRoot": true}), json!({}));
    named["spec"]["containers"][0]["image"] =
        format!("{}/{}/named:1", registry.address(), fixture.namespace).into();
    let image = fixture.pod("image", json!({"runAsNonRoot": true}), json!({}));
    let own = fixture.pod("own", json!({"runAsNonRoot": true}), json!({"runAsUser": 0}));
    for (pod, name, expected) in [
        (own, "own", "container's runAsUser breaks non-root policy (pod: \"own_"),
        (image, "image", "container has runAsNonRoot and image will run as root (pod: \"image_"),
        (
            named,
            "named",
            "container has runAsNonRoot and image has non-numeric user (nobody), cannot verify \
             user is non-root (pod: \"named_",
        ),
    ] {
        let created = fixture.cluster.create(&pod).await?;
        let message = fixture.waiting(name, "CreateContainerConfigError").await?;
        ensure!(message.starts_with(expected), "{name}: {message}");
        ensure!(message.contains("container: server)"), "{name}: {message}");
        let events = pods::wait_events(&fixture.cluster, &created, &["Failed"], LIMIT).await?;
        let told =
            |event: &Value| event["message"].as_str().is_some_and(|text| text.contains(expected));
        ensure!(events.iter().any(told), "{name}: {events:?}");
    }
    let number = fixture.pod("number", json!({"runAsNonRoot": true}), json!({"runAsUser": 9}));
    fixture.run(&number).await.map(drop)
}

async fn groups_of_the_image_are_merged_unless_the_policy_is_strict(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let node = fixture.cluster.get_json(&fixture.node.api_path()).await?;
    let features = &node["status"]["features"];
    ensure!(features["supplementalGroupsPolicy"] == true, "{}", node["status"]);
    // User nobody is in group 10 of the image.
    for (policy, expected) in [("Merge", "65534 10 777"), ("Strict", "65534 777")] {
        let of_pod = json!({
            "runAsUser": 65534, "runAsGroup": 65534, "supplementalGroups": [777],
            "supplementalGroupsPolicy": policy,
        });
        let name = policy.to_lowercase();
        let pod = fixture.run(&fixture.pod(&name, of_pod, json!({}))).await?;
        let mut found = status_line(&pod, "Groups").await?;
        found.insert_str(0, "65534 ");
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.sort();
            words.dedup();
            words
        };
        ensure!(sorted(&found) == sorted(expected), "{policy}: {found}");
    }
    Ok(())
}

async fn capabilities_are_those_asked_for(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    // Which of chown, net_admin and sys_admin there are.
    for (name, of_container, expected) in [
        ("plain", json!({}), [true, false, false]),
        ("none", json!({"capabilities": {"drop": ["ALL"]}}), [false, false, false]),
        (
            "one",
            json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}),
            [false, true, false],
        ),
        ("less", json!({"capabilities": {"drop": ["CHOWN"]}}), [false, false, false]),
        ("all", json!({"capabilities": {"add": ["ALL"]}}), [true, true, true]),
        ("privileged", json!({"privileged": true}), [true, true, true]),
    ] {
        let pod = fixture.run(&fixture.pod(name, json!({}), of_container)).await?;
        let text = status_line(&pod, "CapEff").await?;
        let set = u64::from_str_radix(&text, 16).with_context(|| format!("CapEff: {text}"))?;
        let found = [CAP_CHOWN, CAP_NET_ADMIN, CAP_SYS_ADMIN].map(|bit| set >> bit & 1 == 1);
        ensure!(found == expected, "{name}: {text}");
        let devices = in_pod::shell(&pod, "test -e /dev/kmsg && echo yes || echo no").await?;
        ensure!((devices == "yes\n") == (name == "privileged"), "{name}: /dev/kmsg: {devices}");
    }
    Ok(())
}

/// Forbids one call that nothing needs, so that the container runs and is confined.
const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]
}"#;

async fn seccomp_profiles_confine_and_a_missing_one_is_waited_for(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let profile = |kind: &str| json!({"seccompProfile": {"type": kind}});
    for (name, of_pod, of_container, mode) in [
        ("plain", json!({}), json!({}), "0"),
        ("of-pod", profile("RuntimeDefault"), json!({}), "2"),
        ("of-container", profile("Unconfined"), profile("RuntimeDefault"), "2"),
        ("unconfined", profile("RuntimeDefault"), profile("Unconfined"), "0"),
    ] {
        let pod = fixture.run(&fixture.pod(name, of_pod, of_container)).await?;
        let found = status_line(&pod, "Seccomp").await?;
        ensure!(found == mode, "{name}: {found}");
    }
    let file = format!("{}/quiet.json", fixture.namespace);
    let local = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": file}});
    fixture.cluster.create(&fixture.pod("local", local, json!({}))).await?;
    let message = fixture.waiting("local", "CreateContainerError").await?;
    let path = fixture.node.root_directory().join("seccomp").join(&file);
    ensure!(message.contains(path.to_str().context("path")?), "{message}");
    fs::create_dir_all(path.parent().context("no parent")?)?;
    fs::write(&path, PROFILE)?;
    let pod = pods::wait_ready(&fixture.cluster, &fixture.path("local"), LIMIT).await?;
    let found = status_line(&pod, "Seccomp").await?;
    ensure!(found == "2", "local: {found}");
    Ok(())
}

async fn seccomp_default_confines_what_asks_for_nothing(context: Arc<TestContext>) -> Result<()> {
    let options =
        NodeOptions { kubelet_config: json!({"seccompDefault": true}), ..NodeOptions::default() };
    let fixture = Fixture::on(&context, context.node(options).await?).await?;
    let unconfined = json!({"seccompProfile": {"type": "Unconfined"}});
    for (name, of_pod, mode) in [("plain", json!({}), "2"), ("unconfined", unconfined, "0")] {
        let pod = fixture.run(&fixture.pod(name, of_pod, json!({}))).await?;
        let found = status_line(&pod, "Seccomp").await?;
        ensure!(found == mode, "{name}: {found}");
    }
    Ok(())
}

async fn kernel_files_are_hidden_and_read_only(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let pod = fixture.run(&fixture.pod("plain", json!({}), json!({}))).await?;
    let mounts = in_pod::shell(&pod, "cat /proc/self/mountinfo").await?;
    let options = |path: &str| {
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mut found = fields.filter(|fields| fields.get(4) == Some(&path));
        found.next().and_then(|fields| fields.get(5).map(ToString::to_string))
    };
    for path in ["/proc/sys", "/proc/bus", "/proc/irq"] {
        let found = options(path).with_context(|| format!("{path} is not mounted: {mounts}"))?;
        ensure!(found.starts_with("ro"), "{path}: {found}");
    }
    ensure!(options("/proc/keys").is_some(), "/proc/keys is not hidden: {mounts}");
    // A privileged container sees them all.
    let bare = fixture.run(&fixture.pod("bare", json!({}), json!({"privileged": true}))).await?;
    let mounts = in_pod::shell(&bare, "cat /proc/self/mountinfo").await?;
    ensure!(!mounts.contains(" /proc/keys ") && !mounts.contains(" /proc/sys "), "{mounts}");
    Ok(())
}

async fn sysctls_are_set_in_either_spelling(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let sysctls = json!({"sysctls": [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"},
        {"name": "net/ipv4/tcp_fin_timeout", "value": "37"},
        {"name": "kernel.shm_rmid_forced", "value": "1"},
    ]});
    let pod = fixture.run(&fixture.pod("tuned", sysctls, json!({}))).await?;
    let command = "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start \
                   net/ipv4/tcp_fin_timeout kernel/shm_rmid_forced";
    let found = in_pod::shell(&pod, command).await?;
    ensure!(found == "80\n37\n1\n", "{found}");
    Ok(())
}

async fn namespaces_are_the_nodes_or_the_pods_as_asked(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let agent = *fixture.node.agent()?.ids().first().context("no agent runs")?;
    let of_node = |kind: &str| -> Result<String> {
        let link = fs::read_link(format!("/proc/{agent}/ns/{kind}"))?;
        Ok(link.to_string_lossy().into_owned())
    };
    let kinds = ["pid", "ipc", "net"];
    let script = |name: &str| {
        let links = kinds.map(|kind| format!("$(readlink /proc/self/ns/{kind})")).join(" ");
        format!("say {name} {links}; exec sleep 600")
    };
    // Which namespaces are the node's, and whether the containers see each other's processes.
    for (name, field, nodes, shared) in [
        ("own", None, [false, false, false], false),
        ("pids", Some("hostPID"), [true, false, false], true),
        ("ipc", Some("hostIPC"), [false, true, false], false),
        ("net", Some("hostNetwork"), [false, false, true], false),
        ("shared", Some("shareProcessNamespace"), [false, false, false], true),
    ] {
        let story = Story::new(&fixture.node, &fixture.namespace, name)?;
        let containers = ["one", "two"].map(|name| story.container(name, &script(name)));
        let place = (fixture.namespace.as_str(), name, fixture.node.name());
        let mut pod = story.pod(place, &[], &containers);
        if let Some(field) = field {
            pod["spec"][field] = true.into();
        }
        pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
        fixture.cluster.create(&pod).await?;
        let what = format!("links of {name}");
        let complete = |lines: &Vec<String>| lines.len() == 2;
        let lines = wait::until_value(&what, LIMIT, || async { story.lines() }, complete).await?;
        let links_of = |container: &str| -> Result<Vec<&str>> {
            let line = lines.iter().find_map(|line| line.strip_prefix(container));
            let links: Vec<_> = line.context("a line is missing")?.split_whitespace().collect();
            ensure!(links.len() == kinds.len(), "{name}: {lines:?}");
            Ok(links)
        };
        let (one, two) = (links_of("one")?, links_of("two")?);
        for ((kind, expected), found) in kinds.iter().zip(nodes).zip(&one) {
            ensure!((*found == of_node(kind)?) == expected, "{name}: {kind} is {found}");
        }
        ensure!((one[0] == two[0]) == shared, "{name}: {lines:?}");
        ensure!(one[1..] == two[1..], "{name}: {lines:?}");
    }
    Ok(())
}

async fn app_armor_profile_needs_a_kernel_that_has_it(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let profile = |kind: &str| json!({"appArmorProfile": {"type": kind}});
    fixture.run(&fixture.pod("unconfined", profile("Unconfined"), json!({}))).await?;
    if enabled.is_ok_and(|text| text.starts_with('Y')) {
        return Ok(());
    }
    for (name, of_pod, of_container) in [
        ("of-pod", profile("RuntimeDefault"), json!({})),
        ("of-container", json!({}), profile("RuntimeDefault")),
    ] {
        let pod = fixture.pod(name, of_pod, of_container);
        let pod = pods::run_to_end(&fixture.cluster, &pod, LIMIT).await?;
        ensure!(pod["status"]["reason"] == "AppArmor", "{}", pod["status"]);
        let message = pod["status"]["message"].as_str().unwrap_or_default();
        let expected = "Cannot enforce AppArmor: AppArmor is not enabled on the host";
        ensure!(message.contains(expected), "{message}");
        pods::wait_events(&fixture.cluster, &pod, &["AppArmor"], LIMIT).await?;
    }
    Ok(())
}

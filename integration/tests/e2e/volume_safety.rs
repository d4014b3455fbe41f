//! Attacks through volumes: links, races and mounts that would lead out of a pod, and names that
//! would stop the removal of one. Nothing outside may be seen, changed or lost.

use std::fs;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, openat, renameat2};
use nix::mount::{MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use serde_json::{Value, json};

use crate::LIMIT;

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
/// What was refused once is tried again after 10 to 15 s, several times.
const TRIES: Duration = Duration::from_secs(240);

pub fn tests() -> Vec<Test> {
    integration::tests![
        directory_swapped_for_a_link_never_shows_the_host,
        foreign_mount_inside_a_volume_survives_the_pod,
        hostile_names_do_not_stop_the_removal,
        paths_of_items_that_lead_out_are_refused,
        host_path_swapped_during_its_check_harms_nothing,
    ]
}

struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Fixture {
    async fn new(context: &TestContext, node: Arc<Node>) -> Result<Self> {
        let cluster = context.cluster().await?;
        Ok(Self { cluster, node, namespace: context.namespace().await? })
    }

    fn path(&self, name: &str) -> String {
        pods::path(&self.namespace, name)
    }

    fn host(&self, name: &str) -> Result<PathBuf> {
        let host = self.node.directory().join(format!("{name}-{}", self.namespace));
        fs::create_dir_all(&host)?;
        Ok(host)
    }

    /// The directory of a pod on the node.
    fn pod_dir(&self, uid: &str) -> PathBuf {
        self.node.root_directory().join("pods").join(uid)
    }

    async fn wait_removed(&self, uid: &str) -> Result<()> {
        let dir = self.pod_dir(uid);
        wait::until(&dir.display().to_string(), LIMIT, || async {
            Ok(if dir.exists() { Look::NotYet("it exists".to_owned()) } else { Look::Met(()) })
        })
        .await
    }
}

/// Exchanges the names `x` and `y` in a directory until it is dropped or told to stop, which leaves
/// them as they were.
struct Swapper {
    dir: PathBuf,
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

impl Swapper {
    fn start(dir: &Path) -> Result<Self> {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let held = File::open(dir)?;
        let (told, count) = (Arc::clone(&stop), Arc::clone(&swaps));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) || count.load(Ordering::Relaxed) % 2 == 1 {
                renameat2(&held, "x", &held, "y", RenameFlags::RENAME_EXCHANGE)?;
                count.fetch_add(1, Ordering::Relaxed);
                // Others share the processors; both states are met often enough.
                std::thread::yield_now();
            }
            Ok(())
        });
        Ok(Self { dir: dir.to_owned(), stop, swaps, thread: Some(thread) })
    }

    fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().context("it was stopped before")?.join();
        let ended = ended.map_err(|_| anyhow::anyhow!("the swapping thread panicked"))?;
        ended.with_context(|| format!("swapping in {}", self.dir.display()))?;
        Ok(self.swaps.load(Ordering::Relaxed))
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// True when every container has ended or was refused its config at least once.
fn all_tried(pod: &Value) -> bool {
    let statuses = pod["status"]["containerStatuses"].as_array();
    statuses.is_some_and(|statuses| {
        statuses.iter().all(|status| {
            let state = &status["state"];
            !state["terminated"].is_null()
                || state["waiting"]["reason"] == "CreateContainerConfigError"
        })
    })
}

async fn directory_swapped_for_a_link_never_shows_the_host(
    context: Arc<TestContext>,
) -> Result<()> {
    const PODS: usize = 3;
    const CONTAINERS: usize = 6;
    let fixture = Fixture::new(&context, context.shared_node().await?).await?;
    let host = fixture.host("raced")?;
    let (shared, secret) = (host.join("shared"), host.join("secret"));
    fs::create_dir_all(shared.join("x/deep"))?;
    fs::write(shared.join("x/deep/inside"), "")?;
    fs::create_dir_all(secret.join("deep"))?;
    fs::write(secret.join("deep/outside"), "secret")?;
    symlink(&secret, shared.join("y"))?;
    let results = fixture.host("results")?;
    let script = "if test -e /part/outside; then echo \"$NAME\" >> /results/leaks; fi; \
                  if test ! -e /part/inside; then echo \"$NAME\" >> /results/odd; fi; \
                  echo \"$NAME\" >> /results/runs";
    let swapper = Swapper::start(&shared)?;
    let pod = |number: usize| {
        let name = format!("p{number}");
        let mut pod = pods::script_pod(&fixture.namespace, &name, fixture.node.name(), script);
        pod["spec"]["restartPolicy"] = "Never".into();
        pod["spec"]["volumes"] = json!([
            {"name": "shared", "hostPath": {"path": shared, "type": "Directory"}},
            {"name": "results", "hostPath": {"path": results, "type": "Directory"}},
        ]);
        let template = pod["spec"]["containers"][0].clone();
        let containers = (0..CONTAINERS).map(|index| {
            let mut container = template.clone();
            container["name"] = format!("c{index}").into();
            container["env"] = json!([{"name": "NAME", "value": format!("{name}-c{index}")}]);
            // Half of them have their directory made, wherever the name leads at that moment.
            let made = if index % 2 == 0 { "x/deep".to_owned() } else { format!("x/new-{index}") };
            container["volumeMounts"] = json!([
                {"name": "shared", "mountPath": "/part", "subPath": made},
                {"name": "results", "mountPath": "/results"},
            ]);
            container
        });
        pod["spec"]["containers"] = containers.collect();
        pod
    };
    for number in 0..PODS {
        fixture.cluster.create(&pod(number)).await?;
    }
    for number in 0..PODS {
        let path = fixture.path(&format!("p{number}"));
        pods::wait_for(&fixture.cluster, &path, TRIES, all_tried).await?;
    }
    let swaps = swapper.stop()?;
    ensure!(swaps > 100, "only {swaps} swaps");
    // With the directory in its place all of them run.
    for number in 0..PODS {
        let path = fixture.path(&format!("p{number}"));
        pods::wait_for(&fixture.cluster, &path, TRIES, |pod| pod["status"]["phase"] == "Succeeded")
            .await?;
    }
    let runs = fs::read_to_string(results.join("runs"))?;
    ensure!(runs.lines().count() == PODS * CONTAINERS, "{runs}");
    ensure!(!results.join("leaks").exists(), "the host was seen");
    let odd = fs::read_to_string(results.join("odd")).unwrap_or_default();
    ensure!(!odd.contains("c0") && !odd.contains("c2") && !odd.contains("c4"), "{odd}");
    // Nothing was made where the link leads.
    let names = |dir: &Path| -> Result<Vec<String>> {
        let entries = fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
        Ok(entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    };
    ensure!(names(&secret)? == ["deep"] && names(&secret.join("deep"))? == ["outside"]);
    Ok(())
}

async fn foreign_mount_inside_a_volume_survives_the_pod(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, context.node(NodeOptions::default()).await?).await?;
    let foreign = fixture.host("foreign")?;
    fs::create_dir(foreign.join("deep"))?;
    fs::write(foreign.join("deep/data"), "precious")?;
    let mut pod = pods::script_pod(&fixture.namespace, "a", fixture.node.name(), FOREVER);
    pod["spec"]["volumes"] = json!([{"name": "disk", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "disk", "mountPath": "/disk"},
        {"name": "disk", "mountPath": "/part", "subPath": "part"},
    ]);
    let pod = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let uid = pods::uid(&pod)?.to_owned();
    let volume = fixture.pod_dir(&uid).join("volumes/kubernetes.io~empty-dir/disk");
    let inside = volume.join("a/b");
    fs::create_dir_all(&inside)?;
    fixture.node.namespaces().run(|| {
        let none: Option<&str> = None;
        Ok(mount(Some(&foreign), &inside, none, MsFlags::MS_BIND, none)?)
    })?;
    let path = fixture.path("a");
    fixture.cluster.client().delete(&path).await?;
    if !peers_wanted() {
        let words = format!("{} is still mounted", inside.display());
        wait::until("an event about the mount", LIMIT, || async {
            let events = pods::events(&fixture.cluster, &pod).await?;
            let mut messages = events.iter().filter_map(|event| event["message"].as_str());
            let told = messages.any(|message| message.contains(&words));
            Ok(if told { Look::Met(()) } else { Look::NotYet(format!("{events:?}")) })
        })
        .await?;
    }
    // The next agent finds it in the way as well, and so does the collector of what pods leave.
    fixture.node.agent()?.kill9().await?;
    fixture.node.agent()?.start()?;
    fixture.node.wait_ready(LIMIT).await?;
    // Other pods come and go meanwhile.
    let mut other = pods::script_pod(&fixture.namespace, "b", fixture.node.name(), "exit 0");
    other["spec"]["restartPolicy"] = "Never".into();
    pods::run_to_end(&fixture.cluster, &other, LIMIT).await?;
    fixture.cluster.client().delete(&fixture.path("b")).await?;
    pods::wait_gone(&fixture.cluster, &fixture.path("b"), LIMIT).await?;
    ensure!(fs::read_to_string(foreign.join("deep/data"))? == "precious");
    ensure!(volume.exists(), "the volume was removed around the mount");

    fixture
        .node
        .namespaces()
        .run(|| Ok(umount2(&inside, nix::mount::MntFlags::UMOUNT_NOFOLLOW)?))?;
    pods::wait_gone(&fixture.cluster, &path, TRIES).await?;
    fixture.wait_removed(&uid).await?;
    ensure!(fs::read_to_string(foreign.join("deep/data"))? == "precious");
    Ok(())
}

async fn hostile_names_do_not_stop_the_removal(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, context.shared_node().await?).await?;
    let kept = fixture.host("kept")?;
    fs::write(kept.join("data"), "precious")?;
    // All a container can think of: bytes that are no text, options, links out and around, pipes.
    let script = "cd /disk && touch -- \"$(printf 'new\\nline')\" \"$(printf '\\377\\376')\" -rf ' ' '*' && \
                  mkdir -- \"$(printf '\\301dir')\" ... && touch \"$(printf '\\301dir/\\302')\" && \
                  ln -s /kept out && ln -s ../../../../.. up && ln -s loop loop && mkfifo pipe && \
                  touch done; trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let mut pod = pods::script_pod(&fixture.namespace, "a", fixture.node.name(), script);
    pod["spec"]["volumes"] = json!([
        {"name": "disk", "emptyDir": {}},
        {"name": "kept", "hostPath": {"path": kept}},
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "disk", "mountPath": "/disk"},
        {"name": "kept", "mountPath": "/kept"},
    ]);
    let pod = pods::run(&fixture.cluster, &pod, LIMIT).await?;
    let uid = pods::uid(&pod)?.to_owned();
    let volume = fixture.pod_dir(&uid).join("volumes/kubernetes.io~empty-dir/disk");
    wait::until("the names", LIMIT, || async {
        let made = volume.join("done").exists();
        Ok(if made { Look::Met(()) } else { Look::NotYet("no file done".to_owned()) })
    })
    .await?;
    symlink(&kept, volume.join("to-the-host"))?;
    // Deeper than any path can name.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let mut here = openat(AT_FDCWD, &volume, flags, Mode::empty())?;
    let name = "d".repeat(200);
    for _ in 0..3000 {
        mkdirat(&here, name.as_str(), Mode::S_IRWXU)?;
        here = openat(&here, name.as_str(), flags, Mode::empty())?;
    }
    drop(here);
    let path = fixture.path("a");
    fixture.cluster.client().delete(&path).await?;
    pods::wait_gone(&fixture.cluster, &path, LIMIT).await?;
    fixture.wait_removed(&uid).await?;
    ensure!(fs::read_to_string(kept.join("data"))? == "precious");
    Ok(())
}

async fn paths_of_items_that_lead_out_are_refused(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, context.node(NodeOptions::default()).await?).await?;
    let escape = "../../../../../escaped";
    let items = json!([{"path": escape, "fieldRef": {"fieldPath": "metadata.name"}}]);
    let volumes =
        json!([{"name": "v", "projected": {"sources": [{"downwardAPI": {"items": items}}]}}]);
    let mut pod = pods::script_pod(&fixture.namespace, "a", fixture.node.name(), FOREVER);
    pod["spec"]["volumes"] = volumes;
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    let refusal = fixture.cluster.create(&pod).await.err().context("it was accepted")?;
    ensure!(format!("{refusal:#}").contains("must not contain '..'"), "{refusal:#}");

    // A manifest meets no API server, so the node is the one to refuse it.
    let mut manifest = pod;
    if let Some(spec) = manifest["spec"].as_object_mut() {
        spec.remove("nodeName");
        spec.insert("hostNetwork".to_owned(), true.into());
    }
    let write = |name: &str, manifest: &Value| -> Result<()> {
        let aside = fixture.node.manifests().join(format!(".{name}"));
        fs::write(&aside, serde_json::to_string(manifest)?)?;
        Ok(fs::rename(aside, fixture.node.manifests().join(format!("{name}.yaml")))?)
    };
    write("escape", &manifest)?;
    let mut good = manifest.clone();
    good["metadata"]["name"] = "good".into();
    good["spec"]["volumes"][0]["projected"]["sources"][0]["downwardAPI"]["items"][0]["path"] =
        "kept".into();
    write("good", &good)?;
    let mirror = fixture.path(&format!("good-{}", fixture.node.name()));
    wait::until("the good pod", LIMIT, || async {
        Ok(match fixture.cluster.client().find(&mirror).await? {
            Some(pod) if pods::is_ready(&pod) => Look::Met(()),
            found => Look::NotYet(format!("{found:?}")),
        })
    })
    .await?;
    if !peers_wanted() {
        let said = fixture.node.agent()?.log_text();
        ensure!(said.contains("must not contain '..'"), "nothing is said of the other manifest");
    }
    let mut above = Some(fixture.node.root_directory());
    while let Some(dir) = above {
        ensure!(!dir.join("escaped").exists(), "{} has the file", dir.display());
        above = dir.parent().map(Path::to_owned);
    }
    Ok(())
}

async fn host_path_swapped_during_its_check_harms_nothing(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, context.shared_node().await?).await?;
    let host = fixture.host("checked")?;
    let kept = fixture.host("kept")?;
    fs::write(kept.join("data"), "precious")?;
    // `x` is a link to what is not there, or a file; nobody may make the first true.
    symlink(kept.join("made"), host.join("x"))?;
    fs::write(host.join("y"), "")?;
    let swapper = Swapper::start(&host)?;
    let names: Vec<String> = (0..6).map(|number| format!("p{number}")).collect();
    for name in &names {
        let mut pod = pods::script_pod(&fixture.namespace, name, fixture.node.name(), "exit 0");
        // The runtime may meet the link, after which the container has to be tried again.
        pod["spec"]["restartPolicy"] = "OnFailure".into();
        pod["spec"]["volumes"] =
            json!([{"name": "host", "hostPath": {"path": host.join("x"), "type": "FileOrCreate"}}]);
        pod["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "host", "mountPath": "/x", "readOnly": true}]);
        fixture.cluster.create(&pod).await?;
    }
    // Each is checked at least once: it has run, or an event tells of the check.
    for name in &names {
        wait::until(name, TRIES, || async {
            let pod = fixture.cluster.get_json(&fixture.path(name)).await?;
            let events = pods::events(&fixture.cluster, &pod).await?;
            let checked = pod["status"]["phase"] == "Succeeded"
                || events.iter().any(|event| event["reason"] != "Scheduled");
            Ok(if checked { Look::Met(()) } else { Look::NotYet(pod["status"].to_string()) })
        })
        .await?;
    }
    swapper.stop()?;
    let left: Vec<_> = fs::read_dir(&kept)?.collect::<std::io::Result<Vec<_>>>()?;
    ensure!(left.len() == 1, "something was made through the link: {left:?}");
    ensure!(fs::read_to_string(kept.join("data"))? == "precious");
    // With the file in its place all of them run.
    fs::remove_file(host.join("x"))?;
    fs::write(host.join("x"), "")?;
    for name in &names {
        pods::wait_for(&fixture.cluster, &fixture.path(name), TRIES, |pod| {
            pod["status"]["phase"] == "Succeeded"
        })
        .await?;
    }
    Ok(())
}

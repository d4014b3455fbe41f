//! A node behind a CRI proxy, pods that leave notes, and what must hold for them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::future::try_join_all;
use integration::cri_proxy::{CriProxy, Outcome, Target};
use integration::node::{Node, NodeOptions};
use integration::real_cluster::Cluster;
use integration::registry::Registry;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use serde_json::{Value, json};

use super::traces;

/// Longest way of a pod to Ready or to gone. The pause before a failed step is tried again is up
/// to 15 s, and many pods share the machine.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The node of one test.
pub struct Fixture {
    pub cluster: Arc<Cluster>,
    pub node: Arc<Node>,
    namespace: String,
    notes: PathBuf,
    registry: Registry,
}

impl Fixture {
    /// A Ready node whose agent waits this long, such as `3s`, for an answer of the runtime.
    pub async fn new(context: &TestContext, request_timeout: &str) -> Result<Self> {
        let cluster = context.cluster().await?;
        let options = NodeOptions {
            cri_proxy: true,
            // Pulls that are held must not keep others waiting.
            kubelet_config: json!({
                "runtimeRequestTimeout": request_timeout,
                "serializeImagePulls": false,
            }),
            ..NodeOptions::default()
        };
        let node = context.node(options).await?;
        let namespace = context.namespace().await?;
        let notes = node.directory().join("notes");
        fs::create_dir_all(&notes)?;
        let registry = Registry::start(&cluster.ground().image_archive("busybox"), None).await?;
        node.runtime().trust_registry(&registry.address().to_string())?;
        Ok(Self { cluster, node, namespace, notes, registry })
    }

    pub fn proxy(&self) -> Result<&CriProxy> {
        self.node.cri_proxy()
    }

    pub fn path(&self, name: &str) -> String {
        pods::path(&self.namespace, name)
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}:1", self.registry.address())
    }

    /// Calls of this name about the pod, or about its image.
    pub fn target(&self, method: &'static str, name: &str) -> Target {
        match method {
            "ImageStatus" | "PullImage" => Target::image(method, &self.image(name)),
            _ => Target::pod(method, &self.key(name)),
        }
    }

    /// A pod with volumes and an image of its own that has to be pulled. It adds a line to the
    /// note of its name when it starts, and ends when asked.
    pub fn pod(&self, name: &str) -> Value {
        let script = format!(
            "echo started >> /notes/{name}; trap 'exit 0' TERM; while :; do sleep 0.2; done"
        );
        let mut pod = pods::script_pod(&self.namespace, name, self.node.name(), &script);
        pod["spec"]["containers"][0]["image"] = self.image(name).into();
        pod["spec"]["volumes"] = json!([
            {"name": "notes", "hostPath": {"path": self.notes}},
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
        ]);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([
            {"name": "notes", "mountPath": "/notes"},
            {"name": "disk", "mountPath": "/disk"},
            {"name": "memory", "mountPath": "/memory"},
        ]);
        pod
    }

    /// Creates pods of these names; returns their UIDs.
    pub async fn create(&self, names: &[String]) -> Result<Vec<String>> {
        try_join_all(names.iter().map(|name| async move {
            let created = self.cluster.create(&self.pod(name)).await?;
            pods::uid(&created).map(str::to_owned)
        }))
        .await
    }

    pub async fn delete(&self, names: &[String]) -> Result<()> {
        for name in names {
            self.cluster.client().delete(&self.path(name)).await?;
        }
        Ok(())
    }

    /// Adds to an error what the proxy saw of the pod.
    fn explain<T>(&self, name: &str, result: Result<T>) -> Result<T> {
        let transcript = || self.proxy().map(|proxy| proxy.transcript(&self.key(name)));
        result.with_context(|| format!("{name}:\n{}\n", transcript().unwrap_or_default()))
    }

    /// Waits until all are Ready and checks that each was started once and nothing else runs.
    pub async fn wait_up(&self, names: &[String]) -> Result<()> {
        for name in names {
            let ready = pods::wait_ready(&self.cluster, &self.path(name), LIMIT).await;
            let ready = self.explain(name, ready)?;
            let status = pods::container_status(&ready, "main")?;
            let fresh = status["restartCount"] == 0 && status["lastState"] == json!({});
            let cut = status["restartCount"] == 1
                && status["lastState"]["terminated"]["reason"] == "StartError"
                && self.start_was_cut(name)?;
            let fine = fresh || cut;
            self.explain(name, fine.then_some(()).ok_or_else(|| anyhow!("{status}")))?;
        }
        for name in names {
            // A container is Ready a moment before its first line ran.
            let starts = || async { Ok(self.starts(name)) };
            let noted = wait::until_value("note of the start", LIMIT, starts, |starts| *starts > 0);
            self.explain(name, noted.await)?;
        }
        self.check_starts(names)?;
        wait::until("one sandbox and one container of each pod", LIMIT, || async {
            let tasks = self.node.runtime().ctr(&["task", "list"]).await?;
            let running = tasks.lines().filter(|line| line.contains("RUNNING")).count();
            Ok(if running == names.len() * 2 { Look::Met(()) } else { Look::NotYet(tasks) })
        })
        .await
    }

    /// Waits until all are gone and checks that each was started once and that nothing is left.
    pub async fn wait_down(&self, names: &[String], uids: &[String]) -> Result<()> {
        for name in names {
            let gone = pods::wait_gone(&self.cluster, &self.path(name), LIMIT).await;
            self.explain(name, gone)?;
        }
        self.check_starts(names)?;
        traces::wait_none(&self.node, uids, LIMIT).await
    }

    /// Whether a start of the pod's container was under way, held by nobody, when its caller went
    /// away: containerd then ends the container before its program runs, and it is started anew.
    fn start_was_cut(&self, name: &str) -> Result<bool> {
        let key = self.key(name);
        Ok(self.proxy()?.log().iter().any(|call| {
            call.method == "StartContainer"
                && call.subject.pod.as_ref() == Some(&key)
                && call.outcome == Outcome::Open
                && call.fault.is_none()
        }))
    }

    /// How often the container of a pod ran.
    pub fn starts(&self, name: &str) -> usize {
        let text = fs::read_to_string(self.notes.join(name)).unwrap_or_default();
        text.lines().count()
    }

    /// Each container ran once, and the runtime was made to start each once.
    fn check_starts(&self, names: &[String]) -> Result<()> {
        let mut done: BTreeMap<String, usize> = BTreeMap::new();
        for call in self.proxy()?.log() {
            if call.method == "StartContainer" && call.outcome.is_done() {
                *done.entry(call.subject.pod.unwrap_or_default()).or_default() += 1;
            }
        }
        for name in names {
            let (ran, asked) = (self.starts(name), done.get(&self.key(name)).copied());
            let once = ran == 1 && asked == Some(1);
            let problem = || anyhow!("ran {ran} times, was started {asked:?} times");
            self.explain(name, once.then_some(()).ok_or_else(problem))?;
        }
        Ok(())
    }
}

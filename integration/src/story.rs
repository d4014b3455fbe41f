//! What happened in a pod, told by its containers themselves, line by line in one file.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::node::Node;
use crate::real_runtime::BUSYBOX_IMAGE;
use crate::wait;

/// A folder `/story` that all containers of a pod share and that outlives them. Their scripts can
/// `say` something, which becomes the next line.
#[derive(Debug)]
pub struct Story {
    folder: PathBuf,
}

impl Story {
    /// An empty story of the pod `name` on a node.
    pub fn new(node: &Node, namespace: &str, name: &str) -> Result<Self> {
        let folder = node.directory().join("stories").join(format!("{namespace}-{name}"));
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// A container that runs a shell script.
    #[must_use]
    pub fn container(&self, name: &str, script: &str) -> Value {
        let script = format!("say() {{ echo \"$*\" >> /story/lines; }}; {script}");
        json!({
            "name": name,
            "image": BUSYBOX_IMAGE,
            "command": ["/bin/sh", "-c", script],
            "volumeMounts": [{"name": "story", "mountPath": "/story"}],
        })
    }

    /// [`Self::container`] as a sidecar.
    #[must_use]
    pub fn sidecar(&self, name: &str, script: &str) -> Value {
        let mut container = self.container(name, script);
        container["restartPolicy"] = "Always".into();
        container
    }

    /// The pod with these containers and the folder they write to.
    #[must_use]
    pub fn pod(&self, place: (&str, &str, &str), init: &[Value], regular: &[Value]) -> Value {
        let (namespace, name, node) = place;
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 30,
                "initContainers": init,
                "containers": regular,
                "volumes": [{"name": "story", "hostPath": {"path": self.folder}}],
            },
        })
    }

    /// Path of a file in the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The lines so far.
    pub fn lines(&self) -> Result<Vec<String>> {
        match fs::read_to_string(self.folder.join("lines")) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the story has this line and returns all of it.
    pub async fn wait_line(&self, line: &str, limit: Duration) -> Result<Vec<String>> {
        let what = format!("line {line:?}");
        let has = |lines: &Vec<String>| lines.iter().any(|found| found == line);
        wait::until_value(&what, limit, || async { self.lines() }, has).await
    }

    /// Waits until the story is this one.
    pub async fn wait_lines(&self, lines: &[&str], limit: Duration) -> Result<()> {
        let what = format!("story {lines:?}");
        let is = |found: &Vec<String>| found == lines;
        wait::until_value(&what, limit, || async { self.lines() }, is).await.map(drop)
    }
}

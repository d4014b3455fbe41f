//! What a failed test leaves to be read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::daemon::tail;
use crate::node::Node;
use crate::real_cluster::Cluster;

/// Lines of each log that are printed; the whole is kept in a file.
const PRINTED_LINES: usize = 12;

/// Keeps the logs of a failed test's nodes and of the control plane, and the state of the API,
/// in a folder named after the test. Prints the end of the nodes' logs and where the rest is.
pub async fn keep(test: &str, cluster: Option<&Cluster>, nodes: &[std::sync::Arc<Node>]) {
    let Some(cluster) = cluster else { return };
    let folder = cluster.run().artifacts().join(test.replace("::", "-"));
    // Of an earlier run; absence is fine.
    let _ = fs::remove_dir_all(&folder);
    for node in nodes {
        for log in node.logs() {
            eprintln!(
                "--- {}: end of {}\n{}",
                node.name(),
                file_name(&log),
                tail(&log, PRINTED_LINES)
            );
            copy(&log, &folder.join(node.name()));
        }
        copy_tree(&node.var_log().join("pods"), &folder.join(node.name()).join("pods"));
    }
    for entry in fs::read_dir(cluster.logs()).into_iter().flatten().flatten() {
        copy(&entry.path(), &folder.join("control-plane"));
    }
    let kinds = "nodes,pods,events,services,endpointslices";
    if let Ok(state) = cluster.kubectl(&["get", kinds, "-A", "-o", "yaml"]).await {
        let _ = fs::write(folder.join("objects.yaml"), state);
    }
    eprintln!("--- logs and objects are in {}", folder.display());
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Copies a file into a folder. A log that cannot be kept must not hide why the test failed.
fn copy(file: &Path, folder: &Path) {
    let copied = fs::create_dir_all(folder)
        .and_then(|()| fs::copy(file, folder.join(file_name(file))).map(drop));
    if let Err(error) = copied {
        eprintln!("cannot keep {}: {error}", file.display());
    }
}

fn copy_tree(from: &Path, to: &Path) {
    let entries: Vec<PathBuf> =
        fs::read_dir(from).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    for entry in entries {
        if entry.is_dir() {
            copy_tree(&entry, &to.join(file_name(&entry)));
        } else {
            copy(&entry, to);
        }
    }
}

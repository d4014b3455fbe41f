//! Directories and links of container logs. The runtime writes the logs themselves.
//!
//! Names are made from validated pod and container names, so no path here comes from a pod.

use std::io;
use std::path::PathBuf;

/// Runs a file operation where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn missing_is_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The text of a file.
pub async fn read_text(path: PathBuf) -> io::Result<String> {
    blocking(move || std::fs::read_to_string(path)).await
}

/// Makes the directory and its parents.
pub async fn create_dir(path: PathBuf) -> io::Result<()> {
    blocking(move || std::fs::create_dir_all(path)).await
}

/// Makes `link` point to `target`, in place of what it pointed to before.
pub async fn link(target: PathBuf, link: PathBuf) -> io::Result<()> {
    blocking(move || {
        if let Some(parent) = link.parent() {
            std::fs::create_dir_all(parent)?;
        }
        missing_is_done(std::fs::remove_file(&link))?;
        std::os::unix::fs::symlink(target, link)
    })
    .await
}

/// Removes a file or link; a missing one is success.
pub async fn remove(path: PathBuf) -> io::Result<()> {
    blocking(move || missing_is_done(std::fs::remove_file(path))).await
}

/// Removes a directory and all in it, without following links; a missing one is success.
pub async fn remove_dir(path: PathBuf) -> io::Result<()> {
    blocking(move || missing_is_done(std::fs::remove_dir_all(path))).await
}

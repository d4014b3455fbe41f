//! Directories and links of container logs, which the runtime writes itself, and files that
//! containers have written.
//!
//! Names are made from validated pod and container names, so no path here comes from a pod.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::beneath::Beneath;
use super::pod_files;

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

/// The content of a file beneath `root`, reached without following a link; `None` when there is
/// none. Errors when it is longer than `limit` bytes or no plain file.
pub async fn read_beneath(root: PathBuf, path: PathBuf, limit: u64) -> io::Result<Option<Vec<u8>>> {
    blocking(move || {
        let file = match Beneath::open(&root)?.open_file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            let text = format!("longer than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(Some(bytes))
    })
    .await
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

/// Names of the directories in `path`, links not among them; empty when it does not exist.
pub async fn directories(path: PathBuf) -> io::Result<Vec<String>> {
    blocking(move || names(&path, |entry| Ok(entry.file_type()?.is_dir()))).await
}

/// Names of the files in `path`, links not among them; empty when it does not exist.
pub async fn files(path: PathBuf) -> io::Result<Vec<String>> {
    blocking(move || names(&path, |entry| Ok(entry.file_type()?.is_file()))).await
}

/// Names of the links in `path` that lead to nothing; empty when it does not exist.
pub async fn broken_links(path: PathBuf) -> io::Result<Vec<String>> {
    blocking(move || {
        names(&path, |entry| {
            let leads_to = || std::fs::metadata(entry.path());
            let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
            Ok(entry.file_type()?.is_symlink() && leads_to().is_err_and(|e| is_missing(&e)))
        })
    })
    .await
}

/// Removes the directory `name` in `parent` and all in it, never through a link or a mount; a
/// missing one is success.
pub async fn remove_tree(parent: PathBuf, name: String) -> io::Result<()> {
    blocking(move || pod_files::remove_tree(&parent, &name)).await
}

fn names(
    path: &Path,
    wanted: impl Fn(&std::fs::DirEntry) -> io::Result<bool>,
) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Gone in the meantime is as good as not there.
        if wanted(&entry).unwrap_or(false) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;

//! The ids that pods' users are mapped to: what the administrator grants, and the small file each
//! pod keeps. Paths are noded's own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::unistd::User;
use tokio::process::Command;

use super::pod_files;

/// Whose subordinate ids pods are mapped to, and the program that tells them (kubelet v1.36).
const USER: &str = "kubelet";
const PROGRAM: &str = "getsubids";
/// The ids may come from a directory service.
const DEADLINE: Duration = Duration::from_secs(30);
/// Root only (kubelet v1.36).
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o750;

/// What `getsubids kubelet` and `getsubids -g kubelet` print; `None` where there is no such user,
/// or no such program. Errors when there are both and the program gives no answer: the ids must
/// not depend on whether a directory service could be reached.
pub async fn granted() -> io::Result<Option<(String, String)>> {
    if User::from_name(USER)?.is_none() {
        return Ok(None);
    }
    let users = match ask(&[USER]).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        answer => answer?,
    };
    Ok(Some((users, ask(&["-g", USER]).await?)))
}

async fn ask(args: &[&str]) -> io::Result<String> {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let answer = tokio::time::timeout(DEADLINE, command.output()).await;
    let Output { status, stdout, stderr } =
        answer.map_err(|_| io::Error::other(format!("{PROGRAM} does not answer")))??;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&stderr);
    Err(io::Error::other(format!("{PROGRAM} failed ({status}): {}", words.trim())))
}

/// The text of the file; `None` when there is none.
pub async fn read(path: PathBuf) -> io::Result<Option<Vec<u8>>> {
    blocking(move || match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    })
    .await
}

/// Writes the file whole or not at all, and its directory before it. It is not forced to the disk:
/// a machine that loses power loses the pod's processes too.
pub async fn write(path: PathBuf, text: String) -> io::Result<()> {
    blocking(move || {
        let parent = path.parent().unwrap_or(Path::new("/"));
        pod_files::create_dir_all(parent, DIR_MODE)?;
        let unfinished = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE);
        options.open(&unfinished)?.write_all(text.as_bytes())?;
        fs::rename(unfinished, path)
    })
    .await
}

/// Removes the file; a missing one is success.
pub async fn remove(path: PathBuf) -> io::Result<()> {
    blocking(move || match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
    .await
}

/// Names of the directories in `path`; none when it does not exist.
pub async fn directories(path: PathBuf) -> io::Result<Vec<String>> {
    blocking(move || pod_files::directories_in(&path)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

//! The last words of a container that has ended: what it wrote to its termination log, or the end
//! of its log when it failed without a word and its policy asks for that.
//! Source: kubelet v1.36 `kuberuntime/kuberuntime_container.go`, `container/runtime.go`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use cri_proto::runtime::v1::{ContainerState, ContainerStatus};

use crate::adapters::linux::beneath::Beneath;
use crate::podexec::labels::{CONTAINER_NAME, ContainerRecord, POD_UID, container_record};

/// Most that is read of a termination log (kubelet v1.36).
const MAX_MESSAGE: u64 = 4096;
/// Most that is taken of a container's log, in bytes and lines (kubelet v1.36).
const MAX_LOG_MESSAGE: usize = 2048;
const MAX_LOG_LINES: usize = 80;
/// Enough of the end of a log file for that: a line's time, stream and tag take about 45 bytes,
/// and a line holds at most 16 KiB.
const LOG_TAIL: u64 = 64 * 1024;

/// The policy that falls back to the log.
const FALLBACK_TO_LOGS: &str = "FallbackToLogsOnError";

/// A file of a pod, which the container may have tried to turn into something else.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MessageFile {
    /// The directory of all pods, noded's own.
    pods: PathBuf,
    /// `<uid>/containers/<name>/<file>` in it.
    path: PathBuf,
}

/// Where the last words of a container may stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    file: Option<MessageFile>,
    /// Read when the file says nothing.
    log: Option<PathBuf>,
}

/// `None` for a container that has not ended or has nowhere to speak.
pub(super) fn sources(status: &ContainerStatus) -> Option<Sources> {
    if status.state() != ContainerState::ContainerExited {
        return None;
    }
    let record = container_record(&status.annotations);
    let failed = status.exit_code != 0 && status.reason != "ContainerCannotRun";
    let to_logs = failed && record.termination_message_policy == FALLBACK_TO_LOGS;
    let log = Some(PathBuf::from(&status.log_path)).filter(|path| to_logs && path.is_absolute());
    let sources = Sources { file: message_file(status, &record), log };
    (sources != Sources::default()).then_some(sources)
}

/// The file of the host that is mounted at the container's termination message path. Only the one
/// that was made for this container will do: the pod's spec can mount anything at that path.
fn message_file(status: &ContainerStatus, record: &ContainerRecord) -> Option<MessageFile> {
    let path = record.termination_message_path.as_str();
    let wanted = match path {
        "" => return None,
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("/{path}"),
    };
    let label = |key: &str| status.labels.get(key).filter(|text| !text.is_empty());
    let own =
        Path::new("pods").join(label(POD_UID)?).join("containers").join(label(CONTAINER_NAME)?);
    let mounts = status.mounts.iter().filter(|mount| mount.container_path == wanted);
    mounts.map(|mount| Path::new(&mount.host_path)).find_map(|path| own_file(path, &own))
}

/// Splits `<root>/pods/<uid>/containers/<name>/<file>` behind `pods`; `None` for any other path.
fn own_file(path: &Path, own: &Path) -> Option<MessageFile> {
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !plain || !path.parent()?.ends_with(own) {
        return None;
    }
    let pods = path.ancestors().nth(4)?;
    let path = path.strip_prefix(pods).ok()?;
    Some(MessageFile { pods: pods.to_owned(), path: path.to_owned() })
}

/// The runtime's own message, if any, and the container's, joined by a colon.
pub(super) fn joined(runtime: &str, own: &str) -> String {
    match (runtime, own) {
        ("", own) => own.to_owned(),
        (runtime, "") => runtime.to_owned(),
        (runtime, own) => format!("{runtime}: {own}"),
    }
}

/// Reads the last words; empty when there are none. A file that cannot be read is said so in their
/// place. Blocking.
pub(super) fn read(sources: &Sources) -> String {
    if let Some(file) = &sources.file {
        let opened = Beneath::open(&file.pods).and_then(|pods| pods.open_file(&file.path));
        match opened.and_then(|opened| read_end(opened, MAX_MESSAGE)) {
            Ok((bytes, _)) if !bytes.is_empty() => {
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = file.pods.join(&file.path);
                return format!("Error on reading termination log {}: {error}", path.display());
            }
        }
    }
    let Some(path) = &sources.log else { return String::new() };
    match open_log(path).and_then(|opened| read_end(opened, LOG_TAIL)) {
        Ok((bytes, whole)) => end_of_log(&bytes, whole),
        Err(error) => format!("Error on reading termination message from logs: {error}"),
    }
}

/// The directory of logs is out of reach for containers.
fn open_log(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The last bytes of a file and whether they are all of it. A container may have put anything in
/// the file's place: only a plain file is read.
fn read_end(mut file: File, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
    }
    let start = metadata.len().saturating_sub(limit);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes, start == 0))
}

/// The text of the last 80 lines in CRI log format, at most the last 2 KiB of it. `whole` says
/// that `bytes` begins with a line's beginning.
fn end_of_log(bytes: &[u8], whole: bool) -> String {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if !whole && !lines.is_empty() {
        lines.remove(0);
    }
    let first = lines.len().saturating_sub(MAX_LOG_LINES);
    let mut text: Vec<u8> = lines[first..].iter().flat_map(|line| log_text(line)).collect();
    text.drain(..text.len().saturating_sub(MAX_LOG_MESSAGE));
    String::from_utf8_lossy(&text).into_owned()
}

/// What the container wrote of a line `<time> <stream> <tag> <text>`; the newline is its own only
/// when the tag says that the line is full.
fn log_text(line: &[u8]) -> Vec<u8> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (Some(_), Some(_), Some(tag), Some(text)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Vec::new();
    };
    let partial = tag.split(|byte| *byte == b':').next() == Some(b"P");
    let text = if partial { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
    text.to_vec()
}

#[cfg(test)]
mod tests;

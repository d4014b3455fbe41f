//! Files that are read together, again whenever one of them changes: certificates and authorities.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

use super::manifest_files::{Descriptor, register};

#[cfg(test)]
mod tests;

/// Longest file that is read, in bytes; bundles of all public authorities have a fifth of it.
const LONGEST: u64 = 1 << 20;

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct WatchedFileError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// Some files, and a watch of them.
pub struct WatchedFiles {
    paths: Vec<PathBuf>,
    watch: FileWatch,
}

/// A watch of the directories that paths of files lead through.
#[derive(Default)]
pub struct FileWatch(Option<AsyncFd<Descriptor>>);

impl FileWatch {
    /// To be made before the files are read, so that no change falls between. Must be called inside
    /// a Tokio runtime.
    pub fn start(paths: &[PathBuf]) -> Self {
        let watched = watch(paths).inspect_err(|error| {
            tracing::warn!(%error, ?paths, "changes of files will not be seen");
        });
        Self(watched.ok())
    }

    /// Returns when something changed beside one of the files since the start; never when they
    /// cannot be watched. Cancel safe.
    pub async fn changed(&self) {
        let Some(watch) = &self.0 else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = watch.readable().await else {
                return std::future::pending().await;
            };
            match watch.get_ref().0.read_events() {
                Ok(_) => return,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

impl WatchedFiles {
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, watch: FileWatch::default() }
    }

    /// What is in the files now, in their order.
    pub fn read(&mut self) -> Result<Vec<Vec<u8>>, WatchedFileError> {
        self.watch = FileWatch::start(&self.paths);
        self.paths.iter().map(|path| read(path)).collect()
    }

    /// Returns when something changed beside one of the files since the last [`Self::read`]; never
    /// when they cannot be watched.
    pub async fn changed(&self) {
        self.watch.changed().await;
    }
}

/// Watches the directories of the paths, those of what they link to, and, while a directory is
/// missing, the one it would come into being in.
fn watch(paths: &[PathBuf]) -> io::Result<AsyncFd<Descriptor>> {
    let mut dirs = BTreeSet::new();
    for path in paths {
        let targets = [Some(path.clone()), fs::canonicalize(path).ok()];
        for path in targets.into_iter().flatten() {
            let above = path.ancestors().skip(1).find(|dir| dir.is_dir());
            dirs.extend(above.map(Path::to_owned));
        }
    }
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    // A file that is being written is not looked at before it is closed; a link is made or moved.
    let flags = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    for dir in dirs {
        inotify.add_watch(&dir, flags)?;
    }
    register(Descriptor(inotify))
}

fn read(path: &Path) -> Result<Vec<u8>, WatchedFileError> {
    let failed = |source| WatchedFileError { path: path.to_owned(), source };
    let mut content = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(LONGEST + 1).read_to_end(&mut content).map_err(failed)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(failed(io::Error::other(format!("it is longer than {LONGEST} bytes"))));
    }
    Ok(content)
}

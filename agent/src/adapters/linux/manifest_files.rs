//! The directory, or single file, of static pod manifests: reads it, and watches it with inotify.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::boundary::{ManifestFile, ManifestFiles};

#[cfg(test)]
mod tests;

/// Longest manifest that is read, in bytes (kubelet v1.36: 10 MiB).
const LONGEST: u64 = 10 << 20;

/// The real [`ManifestFiles`].
pub struct LinuxManifestFiles {
    path: PathBuf,
    /// `None` while there is nothing to watch.
    watch: Mutex<Option<Arc<Watch>>>,
}

/// An inotify watch of one directory.
struct Watch {
    dir: PathBuf,
    /// Inode watched: a directory that is replaced is another one.
    inode: u64,
    events: AsyncFd<Descriptor>,
}

pub(super) struct Descriptor(pub(super) Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl LinuxManifestFiles {
    /// `path` may come into being later.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), watch: Mutex::default() }
    }

    fn watch(&self) -> Option<Arc<Watch>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watches the directory in question, if it is there and is not watched yet. Without a watch
    /// changes are found by looking.
    fn ensure_watch(&self) {
        let dir = match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => Some(self.path.clone()),
            Ok(_) => self.path.parent().map(Path::to_owned),
            Err(_) => None,
        };
        let wanted = dir.and_then(|dir| Some((fs::metadata(&dir).ok()?.ino(), dir)));
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((inode, dir)) = wanted else {
            *watch = None;
            return;
        };
        if watch.as_ref().is_some_and(|watch| watch.inode == inode) {
            return;
        }
        *watch = match Watch::start(&dir, inode) {
            Ok(started) => Some(Arc::new(started)),
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "cannot watch manifests");
                None
            }
        };
    }
}

impl Watch {
    fn start(dir: &Path, inode: u64) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // A file that is being written is not looked at before it is closed.
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        inotify.add_watch(dir, flags)?;
        Ok(Self { dir: dir.to_owned(), inode, events: register(Descriptor(inotify))? })
    }

    /// Whether the event is about a manifest as a whole. A file that was just made has its
    /// `IN_CLOSE_WRITE` to come, but a link has not.
    fn counts(&self, event: &InotifyEvent) -> bool {
        let Some(name) = &event.name else { return true };
        if name.as_encoded_bytes().starts_with(b".") {
            return false;
        }
        if !event.mask.contains(AddWatchFlags::IN_CREATE) {
            return true;
        }
        fs::symlink_metadata(self.dir.join(name))
            .is_ok_and(|found| found.is_symlink() || found.nlink() > 1)
    }

    async fn changed(&self) {
        loop {
            let Ok(mut ready) = self.events.readable().await else {
                return std::future::pending().await;
            };
            match self.events.get_ref().0.read_events() {
                Ok(events) if events.iter().any(|event| self.counts(event)) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => ready.clear_ready(),
                // The next look at the directory is the way on.
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

#[expect(unsafe_code, reason = "Tokio takes the descriptor's life on trust")]
pub(super) fn register(descriptor: Descriptor) -> io::Result<AsyncFd<Descriptor>> {
    // SAFETY: the `Inotify` inside owns its descriptor and is neither replaced nor closed while
    // the `AsyncFd` owns it, and `as_raw_fd` always returns that one.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

#[async_trait]
impl ManifestFiles for LinuxManifestFiles {
    async fn list(&self) -> io::Result<Option<Vec<ManifestFile>>> {
        // Before the reading, so that no change falls between.
        self.ensure_watch();
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || read_all(&path)).await.map_err(io::Error::other)?
    }

    async fn changed(&self) {
        match self.watch() {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }
}

fn read_all(path: &Path) -> io::Result<Option<Vec<ManifestFile>>> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !found.is_dir() {
        return Ok(Some(read_one(path.to_owned()).into_iter().collect()));
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(Some(paths.into_iter().filter_map(read_one).collect()))
}

/// `None` for what is no file, or no more.
fn read_one(path: PathBuf) -> Option<ManifestFile> {
    let content = match fs::metadata(&path) {
        // A pipe would block for ever.
        Ok(found) if !found.is_file() => return None,
        Ok(_) => read_limited(&path).map_err(|error| (error.kind(), error.to_string())),
        Err(error) => Err((error.kind(), error.to_string())),
    };
    match content {
        Ok(content) => Some(ManifestFile { path, content: Ok(content) }),
        Err((ErrorKind::NotFound, _)) => None,
        Err((_, problem)) => {
            Some(ManifestFile { path, content: Err(format!("it cannot be read: {problem}")) })
        }
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(LONGEST + 1).read_to_end(&mut content)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    Ok(content)
}

//! Tells readers of container logs that there is more to read. One inotify instance serves all,
//! since a user may have few of them (128 by default); a watch costs the kernel about 1 KiB.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::log_reader::{LogDir, LogFile};

#[cfg(test)]
mod tests;

/// Time between two looks at the events. Busy containers write each line by itself, and the kernel
/// makes one event of equal ones that follow each other, so readers get what came in this time at
/// once.
const PAUSE: Duration = Duration::from_millis(10);

/// After so many events at once there is no pause: the kernel keeps 16384 by default.
const MANY: usize = 64;

/// What a file tells: that it grew, that its writer closed it.
const OF_FILE: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVE_SELF);
/// What a directory tells: that something new is in it.
const OF_DIR: AddWatchFlags = AddWatchFlags::IN_CREATE.union(AddWatchFlags::IN_MOVED_TO);

/// What one reader is told by.
#[derive(Debug, Default)]
struct Bell {
    ring: Notify,
    is_closed: AtomicBool,
    names_changed: AtomicBool,
}

impl Bell {
    fn tell(&self, what: AddWatchFlags) {
        if what.contains(AddWatchFlags::IN_CLOSE_WRITE) {
            self.is_closed.store(true, Ordering::Relaxed);
        } else if what.contains(AddWatchFlags::IN_MODIFY) {
            self.is_closed.store(false, Ordering::Relaxed);
        } else {
            self.names_changed.store(true, Ordering::Relaxed);
        }
        self.ring.notify_one();
    }
}

type Readers = HashMap<WatchDescriptor, Vec<Arc<Bell>>>;

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

struct Shared {
    events: AsyncFd<Descriptor>,
    readers: Mutex<Readers>,
}

impl Shared {
    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inotify(&self) -> &Inotify {
        &self.events.get_ref().0
    }
}

/// Watches log files. Cheap to clone.
#[derive(Clone)]
pub struct LogWatch(Arc<Shared>);

impl LogWatch {
    /// Has to be made inside a Tokio runtime; tells nothing before [`LogWatch::run`] runs.
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let events = register(Descriptor(inotify))?;
        Ok(Self(Arc::new(Shared { events, readers: Mutex::default() })))
    }

    /// Watches a log and its directory. Errors when the user has no more watches
    /// (`fs.inotify.max_user_watches`).
    pub fn watch(&self, dir: &LogDir, file: &LogFile) -> io::Result<Watched> {
        let mut watched =
            Watched { bell: Arc::default(), on: Vec::new(), shared: Arc::clone(&self.0) };
        let dir = format!("/proc/self/fd/{}", dir.beneath().as_raw_fd());
        watched.add(Path::new(&dir), OF_DIR)?;
        if let Some(path) = file.open_path() {
            watched.add(&path, OF_FILE)?;
        }
        Ok(watched)
    }

    /// Whether nobody watches anything.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.0.readers().is_empty()
    }

    /// Passes events on until that fails; returns why.
    pub async fn run(self) -> io::Error {
        loop {
            let mut ready = match self.0.events.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            match self.0.inotify().read_events() {
                Ok(events) => {
                    events.iter().for_each(|event| self.tell(event.wd, event.mask));
                    if events.len() < MANY {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return error.into(),
            }
        }
    }

    fn tell(&self, from: WatchDescriptor, what: AddWatchFlags) {
        let mut readers = self.0.readers();
        // The kernel has forgotten events: everybody has to look.
        if what.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            readers.values().flatten().for_each(|bell| bell.tell(what));
            return;
        }
        readers.get(&from).into_iter().flatten().for_each(|bell| bell.tell(what));
        if what.contains(AddWatchFlags::IN_IGNORED) {
            readers.remove(&from);
        }
    }
}

/// A log that is watched, until this is dropped.
pub struct Watched {
    bell: Arc<Bell>,
    on: Vec<WatchDescriptor>,
    shared: Arc<Shared>,
}

impl Watched {
    fn add(&mut self, path: &Path, what: AddWatchFlags) -> io::Result<()> {
        // Nobody may take the watch away in between.
        let mut readers = self.shared.readers();
        let watch = self.shared.inotify().add_watch(path, what)?;
        readers.entry(watch).or_default().push(Arc::clone(&self.bell));
        self.on.push(watch);
        Ok(())
    }

    /// Returns when something happened since this was last asked, or since the watch began; may
    /// return without reason. Cancel safe.
    pub async fn changed(&self) {
        self.bell.ring.notified().await;
    }

    /// Whether the last thing that was seen of the log's writer is that it closed the log.
    pub fn is_closed(&self) -> bool {
        self.bell.is_closed.load(Ordering::Relaxed)
    }

    /// Whether files have come or were renamed since this was last asked.
    pub fn take_names_changed(&self) -> bool {
        self.bell.names_changed.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut readers = self.shared.readers();
        for watch in &self.on {
            let Some(bells) = readers.get_mut(watch) else { continue };
            bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
            if bells.is_empty() {
                readers.remove(watch);
                // It ends by itself with its file.
                let _ = self.shared.inotify().rm_watch(*watch);
            }
        }
    }
}

#[expect(unsafe_code, reason = "Tokio takes the descriptor's life on trust")]
fn register(descriptor: Descriptor) -> io::Result<AsyncFd<Descriptor>> {
    // SAFETY: the `Inotify` inside owns its descriptor and is neither replaced nor closed while
    // the `AsyncFd` owns it, and `as_raw_fd` always returns that one.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

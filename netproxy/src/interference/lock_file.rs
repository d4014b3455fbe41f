//! Runs of legacy iptables, seen by the lock file that each of them opens.
//!
//! Legacy iptables tells nobody what it changes. So the end of a run that is not ours is all
//! there is to know, and the rules have to be looked at.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use tracing::warn;

use super::netlink::until;
use super::own::OwnWriters;
use super::pending::{LONGEST, QUIET};
use super::{RuleEvent, RuleWatch};

/// Where legacy iptables keeps its lock (`XT_LOCK_NAME`).
pub const LOCK_FILE: &str = "/run/xtables.lock";

/// Watches a lock file, also one that does not exist yet.
pub struct LockFileWatch {
    inotify: AsyncFd<Queue>,
    /// Whether the queue of events failed; nothing is told from then on.
    lost: bool,
    file: PathBuf,
    /// The watch of the file, while there is one.
    watched: Option<WatchDescriptor>,
    own: OwnWriters,
    /// Runs of ours that had ended at the last look.
    finished: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// The queue of events, as tokio wants it.
struct Queue(Inotify);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl LockFileWatch {
    /// Watches from now on. The directory of `file` has to exist; runs by `own` are not told.
    pub fn open(file: &Path, own: OwnWriters) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let directory = file.parent().unwrap_or(Path::new("/"));
        inotify.add_watch(directory, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
        let finished = own.runs().1;
        #[expect(deprecated, reason = "the descriptor is owned by the queue and never replaced")]
        let inotify = AsyncFd::new(Queue(inotify))?;
        let mut watch = Self {
            inotify,
            lost: false,
            file: file.to_owned(),
            watched: None,
            own,
            finished,
            first: None,
            last: None,
        };
        watch.attach()?;
        Ok(watch)
    }

    /// Watches the file itself, if it is there. Adding a watch twice does nothing.
    fn attach(&mut self) -> io::Result<()> {
        let closed = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_CLOSE_NOWRITE;
        match self.inotify.get_ref().0.add_watch(&self.file, closed) {
            Ok(watched) => self.watched = Some(watched),
            Err(Errno::ENOENT) => self.watched = None,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn take_in(&mut self, events: &[InotifyEvent]) {
        let mut closed = false;
        for event in events {
            if Some(event.wd) == self.watched {
                closed |= !event.mask.contains(AddWatchFlags::IN_IGNORED);
            } else if event.name.as_deref() == self.file.file_name() {
                // Made just now: whoever made it may have closed it before the watch was there.
                closed = true;
                if let Err(error) = self.attach() {
                    warn!(file = %self.file.display(), %error, "cannot watch the lock file");
                }
            }
            // A queue that ran over holds nothing but that fact.
            closed |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        }
        // The file says only that it was closed, not by whom. While a run of ours takes place, or
        // when one has ended since the last look, it was ours; the lock lets nobody else in.
        let (running, finished) = self.own.runs();
        let ours = running || finished != self.finished;
        if !running {
            self.finished = finished;
        }
        if closed && !ours {
            let now = Instant::now();
            self.first.get_or_insert(now);
            self.last = Some(now);
        }
    }

    fn due(&self) -> Option<Instant> {
        Some((self.last? + QUIET).min(self.first? + LONGEST))
    }
}

#[async_trait]
impl RuleWatch for LockFileWatch {
    async fn next(&mut self) -> RuleEvent {
        loop {
            let due = self.due();
            if due.is_some_and(|due| due <= Instant::now()) {
                (self.first, self.last) = (None, None);
                return RuleEvent::LegacyRun;
            }
            // Cancel safe: events are read only after the wait, without another one.
            tokio::select! {
                ready = self.inotify.readable(), if !self.lost => {
                    let read = ready.and_then(|mut guard| {
                        match guard.try_io(|inotify| Ok(inotify.get_ref().0.read_events()?)) {
                            Ok(read) => read,
                            Err(_would_block) => Ok(Vec::new()),
                        }
                    });
                    match read {
                        Ok(events) => self.take_in(&events),
                        Err(error) => {
                            warn!(%error, "lost sight of the lock file of iptables");
                            self.lost = true;
                        }
                    }
                }
                () = until(due) => {}
            }
        }
    }
}

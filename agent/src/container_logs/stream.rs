//! The text of a container's log as a stream that is read as it is asked for: who takes it slowly
//! slows down nobody else, and dropping it ends everything.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::options::LogOptions;
use super::reading::{Piece, Reading, Then};
use super::succession::{Mark, find_next, open_current};
use crate::adapters::linux::log_reader::LogDir;
use crate::adapters::linux::log_watch::{LogWatch, Watched};
use crate::model::{ContainerId, PodUid, RuntimePods};
use crate::timer::sleep_until;

#[cfg(test)]
mod tests;

/// How long a rotated log is waited for to be closed by its writer once the new one is there. A
/// runtime closes it within milliseconds; this is for one whose closing was not seen.
const CLOSING: Duration = Duration::from_secs(2);

/// How often a log is looked at when the kernel has no watch left for it.
const WITHOUT_WATCH: Duration = Duration::from_secs(1);

/// How often, and with which pause, a log is looked for that is being rotated: the runtime makes
/// the new file some milliseconds after the old one was renamed.
const OPEN_ATTEMPTS: usize = 10;
const OPEN_PAUSE: Duration = Duration::from_millis(50);

type Runtime = watch::Receiver<Option<Arc<RuntimePods>>>;

/// Whose log it is, and where it lies.
#[derive(Clone)]
pub struct LogSource {
    pub pod: PodUid,
    pub container: ContainerId,
    /// As the runtime says it.
    pub path: PathBuf,
    /// What tells that the container has ended.
    pub runtime: Runtime,
}

impl LogSource {
    /// Whether the container is known to write no more.
    fn is_over(&self) -> bool {
        is_over(self.runtime.borrow().as_deref(), &self.pod, &self.container)
    }
}

fn is_over(runtime: Option<&RuntimePods>, pod: &PodUid, container: &ContainerId) -> bool {
    let Some(runtime) = runtime else { return false };
    let containers = runtime.get(pod).map(|pod| pod.containers.as_slice()).unwrap_or_default();
    let found = containers.iter().find(|known| known.id == *container);
    found.is_none_or(|container| container.exit().is_some())
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// What is known of a log while it is followed.
struct Following {
    source: LogSource,
    /// Who tells of changes; `None` where the kernel has no watch to give.
    watch: Option<LogWatch>,
    /// Of the file that is being read.
    watched: Option<Watched>,
    /// The successor of the file may be there.
    look_for_next: bool,
    /// When the file is given up to its successor, which is there.
    give_up_at: Option<Instant>,
}

/// What held when a read began, so that the read found everything written before.
#[derive(Clone, Copy)]
struct Before {
    is_over: bool,
    /// The writer has closed the file, or is not waited for any longer.
    is_closed: bool,
}

impl Following {
    fn before(&self) -> Before {
        let is_closed = self.watched.as_ref().is_some_and(Watched::is_closed)
            || self.give_up_at.is_some_and(|at| at <= Instant::now());
        Before { is_over: self.source.is_over(), is_closed }
    }

    /// Begins to watch the file. Whatever happened before may have been missed.
    fn begin_watch(&mut self, dir: &LogDir, reading: &Reading) {
        let Some(watch) = &self.watch else { return };
        match watch.watch(dir, &reading.file) {
            Ok(watched) => {
                self.watched = Some(watched);
                self.look_for_next = true;
            }
            Err(error) => {
                let path = self.source.path.display();
                tracing::debug!(%path, %error, "cannot watch a log, looking at it each second");
                self.watch = None;
            }
        }
    }

    /// Returns when there may be something new. Cancel safe.
    async fn wait(&mut self) {
        let LogSource { pod, container, runtime, .. } = &mut self.source;
        let over = async {
            let is_over = |all: &Option<Arc<_>>| is_over(all.as_deref(), pod, container);
            let is_unknown = runtime.wait_for(is_over).await.is_err();
            // The end of the runtime's watcher is the end of noded.
            if is_unknown {
                std::future::pending::<()>().await;
            }
        };
        let changed = async {
            match &self.watched {
                Some(watched) => watched.changed().await,
                None => tokio::time::sleep(WITHOUT_WATCH).await,
            }
        };
        // All arms are cancel safe.
        tokio::select! {
            () = over => {}
            () = changed => {}
            () = sleep_until(self.give_up_at), if self.give_up_at.is_some() => {}
        }
    }
}

type ReadAhead = JoinHandle<(Reading, io::Result<Piece>)>;

/// What is being done with the file.
enum Work {
    Idle(Reading),
    Ahead(ReadAhead, Before),
}

/// One log on its way to one reader.
pub struct LogText {
    dir: Arc<LogDir>,
    name: String,
    mark: Mark,
    /// `None` once all is said.
    work: Option<Work>,
    /// The file had no more when it was read last.
    at_end: Option<Before>,
    /// `None` when only what is there is wanted.
    following: Option<Following>,
}

impl LogText {
    /// Opens the log of `source` below `root`. `watch` is used when the log is followed.
    pub async fn open(
        root: &Path,
        source: LogSource,
        options: LogOptions,
        watch: Option<LogWatch>,
    ) -> io::Result<Self> {
        let mut attempt = 0;
        let (dir, name, mark, reading) = loop {
            let (root, path) = (root.to_owned(), source.path.clone());
            let opened = blocking(move || {
                let (dir, name) = LogDir::open(&root, &path)?;
                let (file, mark) = open_current(&dir, &name)?;
                Ok((dir, name, mark, Reading::begin(file, &options)?))
            });
            attempt += 1;
            match opened.await {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && attempt < OPEN_ATTEMPTS
                        && !source.is_over() =>
                {
                    tokio::time::sleep(OPEN_PAUSE).await;
                }
                opened => break opened?,
            }
        };
        let following = options.follow.then(|| Following {
            source,
            watch,
            watched: None,
            look_for_next: true,
            give_up_at: None,
        });
        let work = Some(Work::Idle(reading));
        Ok(Self { dir: Arc::new(dir), name, mark, work, at_end: None, following })
    }

    /// The text piece by piece, none of them empty. It ends with the log, or when a limit is
    /// reached; of a followed log, when the container has ended and all is read.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures::stream::unfold(self, |mut text| async {
            let piece = text.next().await.transpose()?;
            if piece.is_err() {
                text.work = None;
            }
            Some((piece, text))
        })
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(before) = self.at_end.take() {
                self.end_of_file(before).await?;
            }
            let Some(work) = self.work.take() else { return Ok(None) };
            let (ahead, before) = match work {
                Work::Idle(reading) => self.read_ahead(reading),
                Work::Ahead(ahead, before) => (ahead, before),
            };
            let (reading, piece) = ahead.await.map_err(io::Error::other)?;
            let Piece { text, then } = piece?;
            self.work = match then {
                // The next piece is made while this one is sent.
                Then::More => {
                    let (ahead, before) = self.read_ahead(reading);
                    Some(Work::Ahead(ahead, before))
                }
                Then::EndOfFile => {
                    self.at_end = Some(before);
                    Some(Work::Idle(reading))
                }
                Then::NoMore => None,
            };
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
    }

    fn read_ahead(&self, mut reading: Reading) -> (ReadAhead, Before) {
        let nothing = Before { is_over: true, is_closed: true };
        let before = self.following.as_ref().map_or(nothing, Following::before);
        let ahead = tokio::task::spawn_blocking(move || {
            let piece = reading.next();
            (reading, piece)
        });
        (ahead, before)
    }

    /// Returns when the file is worth another read, or there is another file, or nothing more to
    /// come.
    async fn end_of_file(&mut self, before: Before) -> io::Result<()> {
        let Some(Work::Idle(mut reading)) = self.work.take() else { return Ok(()) };
        let Some(following) = &mut self.following else {
            tell_malformed(&reading);
            return Ok(());
        };
        if following.watched.is_none() && following.watch.is_some() && !before.is_over {
            following.begin_watch(&self.dir, &reading);
            self.work = Some(Work::Idle(reading));
            return Ok(());
        }
        let renamed = following.watched.as_ref().is_none_or(Watched::take_names_changed);
        if renamed || before.is_over || following.look_for_next {
            let (dir, name, mark) = (Arc::clone(&self.dir), self.name.clone(), self.mark.clone());
            let (back, next) = blocking(move || {
                let next = find_next(&dir, &name, &reading.file, &mark);
                Ok((reading, next))
            })
            .await?;
            reading = back;
            let next = next?;
            following.look_for_next = next.is_some();
            match next {
                None if before.is_over => {
                    tell_malformed(&reading);
                    return Ok(());
                }
                None => {}
                Some(next) if next.is_rotated || before.is_closed || before.is_over => {
                    drop(reading.go_on_with(next.file));
                    self.mark = next.mark;
                    (following.give_up_at, following.watched) = (None, None);
                    following.begin_watch(&self.dir, &reading);
                    self.work = Some(Work::Idle(reading));
                    return Ok(());
                }
                Some(_) => {
                    following.give_up_at.get_or_insert_with(|| Instant::now() + CLOSING);
                    if following.before().is_closed {
                        self.work = Some(Work::Idle(reading));
                        return Ok(());
                    }
                }
            }
        }
        following.wait().await;
        self.work = Some(Work::Idle(reading));
        Ok(())
    }
}

fn tell_malformed(reading: &Reading) {
    let lines = reading.malformed();
    if lines > 0 {
        tracing::debug!(lines, "lines that are not in the format of CRI were left out of a log");
    }
}

//! Which file comes after the one that is being read, when logs are rotated meanwhile. Everything
//! here blocks.
//!
//! ```text
//! 0.log.T1.gz   0.log.T2   0.log
//!     mark      the file   the next one     when it was opened as 0.log, T1 was the newest
//! ```

use std::io;

use super::rotation_plan::{is_compressed, rotated_logs};
use crate::adapters::linux::log_reader::{LogDir, LogFile};

#[cfg(test)]
mod tests;

/// How often a log is opened anew because it was rotated at the same moment. Rotations are seconds
/// apart.
const ATTEMPTS: usize = 5;

/// Where a file stands among the rotated ones: its own name will be the first one later than this.
/// `None` when there was none before it.
pub(super) type Mark = Option<String>;

/// The file that follows.
#[derive(Debug)]
pub(super) struct Next {
    pub file: LogFile,
    pub mark: Mark,
    /// It was rotated itself, so the one before it was closed long ago.
    pub is_rotated: bool,
}

/// Opens the log that is being written.
pub(super) fn open_current(dir: &LogDir, log: &str) -> io::Result<(LogFile, Mark)> {
    let mut mark = newest(dir, log)?;
    for _ in 0..ATTEMPTS {
        let file = dir.log(log)?;
        let now = newest(dir, log)?;
        if now == mark {
            return Ok((file, mark));
        }
        mark = now;
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "rotated again and again"))
}

fn newest(dir: &LogDir, log: &str) -> io::Result<Mark> {
    Ok(rotated_logs(log, &dir.names()?).last().map(|(stamp, _)| (*stamp).to_owned()))
}

/// What follows `file`; `None` while it is the last one, or its successor has not come yet.
pub(super) fn find_next(
    dir: &LogDir,
    log: &str,
    file: &LogFile,
    mark: &Mark,
) -> io::Result<Option<Next>> {
    for _ in 0..ATTEMPTS {
        let names = dir.names()?;
        let rotated = rotated_logs(log, &names);
        let newest = rotated.last().map(|(stamp, _)| (*stamp).to_owned());
        let is_later = |stamp: &str| mark.as_deref().is_none_or(|mark| stamp > mark);
        let later: Vec<_> = rotated.into_iter().filter(|(stamp, _)| is_later(stamp)).collect();
        if let Some(next) = next_rotated(dir, &later, file, mark)? {
            return Ok(Some(next));
        }
        match open_current(dir, log) {
            Ok((current, _)) if current.is_same(file) => return Ok(None),
            Ok((file, mark)) if mark == newest => {
                return Ok(Some(Next { file, mark, is_rotated: false }));
            }
            // Rotated once more since the names were listed: others may lie between.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "rotated again and again"))
}

/// What follows `file` among the rotated logs that are later than its mark.
fn next_rotated(
    dir: &LogDir,
    later: &[(&str, &str)],
    file: &LogFile,
    mark: &Mark,
) -> io::Result<Option<Next>> {
    let [(stamp, name), rest @ ..] = later else { return Ok(None) };
    // A compressed one is taken for the file itself, which cannot be told any more.
    let first = if is_compressed(name) { None } else { open(dir, name)? };
    if let Some(first) = first.filter(|first| !first.is_same(file)) {
        // The file itself is gone already.
        return Ok(Some(Next { file: first, mark: mark.clone(), is_rotated: true }));
    }
    let Some((_, name)) = rest.first() else { return Ok(None) };
    let mark = Some((*stamp).to_owned());
    Ok(open(dir, name)?.map(|file| Next { file, mark, is_rotated: true }))
}

/// `None` when it is gone or was given another name.
fn open(dir: &LogDir, name: &str) -> io::Result<Option<LogFile>> {
    match dir.log(name) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

//! Publishes the files of a volume so that a reader sees all of the old ones or all of the new.
//!
//! ```text
//! <volume>/..2026_11_21_04_05_06.1234567   the files
//! <volume>/..data -> ..2026_11_21_04_05_06.1234567   swapped by one rename
//! <volume>/token  -> ..data/token   made once, stays
//! ```
//!
//! Programs watch `..data`; its name and the way it changes are a contract.
//! Source: kubelet v1.36 `volume/util/atomic_writer.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::payload::{Payload, PayloadFile};
use crate::adapters::linux::beneath::{Access, Beneath};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";
/// Longest path and longest name in it (Linux).
const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 255;
/// Everyone may read a generation's directories; which files they may read the files say.
const DIR_MODE: u32 = 0o755;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("invalid path: {problem}: {path:?}")]
    BadPath { path: String, problem: &'static str },
    #[error("cannot {action} {name} in the volume")]
    Io {
        action: &'static str,
        name: String,
        #[source]
        source: io::Error,
    },
}

/// Whether anything had to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Unchanged,
    Replaced,
}

/// Makes `volume` show exactly the files of `payload`, and beside them the directories
/// `mount_points`, where containers mount other volumes into this one. Nothing is touched when it
/// does already; what an interrupted call left is finished or cleared. `group` owns and may read
/// every file when given. `now` names the new generation.
pub fn publish(
    volume: &Path,
    payload: &Payload,
    mount_points: &BTreeSet<String>,
    group: Option<u32>,
    now: Timestamp,
) -> Result<Written, WriteError> {
    let payload = clean(payload)?;
    let dir = Beneath::open(volume).map_err(failed("open", "the directory"))?;
    for path in mount_points {
        match dir.make_directories(Path::new(path), DIR_MODE) {
            // The mount came up after the files, one of which is in its way.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP)) => {}
            made => made.map_err(failed("create", path))?,
        }
    }
    let old = current_generation(&dir)?;
    let current = match old.filter(|old| holds(&dir, old, &payload)) {
        Some(old) => (old, Written::Unchanged),
        None => (replace_generation(&dir, &payload, group, now)?, Written::Replaced),
    };
    let files = payload.keys().filter_map(|path| path.split('/').next()).collect();
    link_visible(&dir, &files)?;
    let beside = mount_points.iter().filter_map(|path| path.split('/').next());
    remove_stale(&dir, &current.0, &files.into_iter().chain(beside).collect())?;
    Ok(current.1)
}

/// The bytes of a file of the current generation; `None` when nothing of that name can be read.
pub fn published(volume: &Path, path: &str) -> Option<Vec<u8>> {
    let dir = Beneath::open(volume).ok()?;
    let current = current_generation(&dir).ok()??;
    dir.directory(Path::new(&current)).ok()?.read(Path::new(path)).ok()
}

fn failed<'a>(action: &'static str, name: &'a str) -> impl FnOnce(io::Error) -> WriteError + 'a {
    move |source| WriteError::Io { action, name: name.to_owned(), source }
}

/// The payload under the shortest spelling of its paths; of two paths that are the same one, the
/// later wins.
fn clean(payload: &Payload) -> Result<BTreeMap<String, &PayloadFile>, WriteError> {
    let mut cleaned = BTreeMap::new();
    for (path, file) in payload {
        let bad = |problem| WriteError::BadPath { path: path.clone(), problem };
        cleaned.insert(clean_path(path).map_err(bad)?, file);
    }
    Ok(cleaned)
}

/// Relative, without `..`, and not hiding among the generations; else what is wrong with it.
fn clean_path(path: &str) -> Result<String, &'static str> {
    if path.starts_with('/') {
        return Err("must be relative path");
    }
    if path.len() > MAX_PATH {
        return Err("must be less than or equal to 4096 characters");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err("must not contain '..'");
    }
    if parts.iter().any(|part| part.len() > MAX_NAME) {
        return Err("filenames must be less than or equal to 255 characters");
    }
    match parts.first() {
        None => Err("must not be empty"),
        Some(first) if first.starts_with("..") => Err("must not start with '..'"),
        Some(_) => Ok(parts.join("/")),
    }
}

/// The name `..data` points to; `None` when nothing was published or the link is not ours.
fn current_generation(dir: &Beneath) -> Result<Option<String>, WriteError> {
    let target = dir.read_link(DATA).map_err(failed("read", DATA))?;
    Ok(target.filter(|name| name.starts_with("..") && !name.contains('/') && name.len() > 2))
}

/// True when the generation holds exactly these files; one that cannot be read is written anew.
fn holds(dir: &Beneath, generation: &str, payload: &BTreeMap<String, &PayloadFile>) -> bool {
    let Ok(dir) = dir.directory(Path::new(generation)) else { return false };
    let Ok(files) = dir.files() else { return false };
    files.len() == payload.len()
        && payload.iter().all(|(path, file)| {
            files.contains(path) && dir.read(Path::new(path)).is_ok_and(|bytes| bytes == file.bytes)
        })
}

/// Writes a new generation and lets `..data` point to it; its name.
fn replace_generation(
    dir: &Beneath,
    payload: &BTreeMap<String, &PayloadFile>,
    group: Option<u32>,
    now: Timestamp,
) -> Result<String, WriteError> {
    let directories = match group {
        Some(_) => Access { mode: DIR_MODE | 0o2110, user: None, group },
        None => Access { mode: DIR_MODE, user: None, group: None },
    };
    let (name, generation) = make_generation(dir, directories, now)?;
    let written = payload.iter().try_for_each(|(path, file)| {
        let readable_by_group = if group.is_some() { 0o440 } else { 0 };
        let access = Access { mode: file.mode | readable_by_group, user: file.owner, group };
        generation
            .write_new(Path::new(path), &file.bytes, access, directories)
            .map_err(failed("write", path))
    });
    // A left-over of a crash between the link and its rename.
    let swapped = written
        .and_then(|()| dir.remove(DATA_NEW).map_err(failed("remove", DATA_NEW)))
        .and_then(|()| dir.link(&name, DATA_NEW).map_err(failed("link", DATA_NEW)))
        .and_then(|()| dir.rename(DATA_NEW, DATA).map_err(failed("rename", DATA_NEW)));
    match swapped {
        Ok(()) => Ok(name),
        Err(error) => {
            // It is tried again under another name; what is left of this one would add up.
            let _ = dir.remove(&name);
            Err(error)
        }
    }
}

/// A fresh directory named after the time; a name that is taken counts on.
fn make_generation(
    dir: &Beneath,
    access: Access,
    now: Timestamp,
) -> Result<(String, Beneath), WriteError> {
    let stamp = now.to_zoned(TimeZone::UTC).strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let mut number = u64::from(now.subsec_nanosecond().unsigned_abs());
    loop {
        let name = format!("{stamp}.{number}");
        match dir.make_directory(&name, access) {
            Ok(made) => return Ok((name, made)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(failed("create", &name)(error)),
        }
    }
}

fn link_visible(dir: &Beneath, visible: &BTreeSet<&str>) -> Result<(), WriteError> {
    for name in visible {
        let target = format!("{DATA}/{name}");
        match dir.link(&target, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(failed("link", name))?,
        }
    }
    Ok(())
}

/// Removes all but `current` and the names in `kept`: what is shown no more, the generation just
/// replaced, and those a crash left half written.
fn remove_stale(dir: &Beneath, current: &str, kept: &BTreeSet<&str>) -> Result<(), WriteError> {
    for name in dir.names().map_err(failed("list", "the directory"))? {
        let keep = name == DATA || name == current || kept.contains(name.as_str());
        if !keep {
            dir.remove(&name).map_err(failed("remove", &name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

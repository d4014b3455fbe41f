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

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::payload::Payload;
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
    #[error("invalid path in volume: {0:?}")]
    BadPath(String),
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

/// Makes `volume` show exactly the files of `payload`. Nothing is touched when it does already.
/// `group` owns and may read every file when given. `now` names the new generation.
pub fn publish(
    volume: &Path,
    payload: &Payload,
    group: Option<u32>,
    now: Timestamp,
) -> Result<Written, WriteError> {
    if let Some(bad) = payload.keys().find(|path| !is_sound(path)) {
        return Err(WriteError::BadPath(bad.clone()));
    }
    let dir = Beneath::open(volume).map_err(failed("open", "the directory"))?;
    let old = current_generation(&dir)?;
    let visible = first_components(payload);
    if old.as_deref().is_some_and(|old| holds(&dir, old, payload)) {
        link_visible(&dir, &visible)?;
        return Ok(Written::Unchanged);
    }
    let new = write_generation(&dir, payload, group, now)?;
    // A left-over of a crash between the link and its rename.
    dir.remove(DATA_NEW).map_err(failed("remove", DATA_NEW))?;
    dir.link(&new, DATA_NEW).map_err(failed("link", DATA_NEW))?;
    dir.rename(DATA_NEW, DATA).map_err(failed("rename", DATA_NEW))?;
    link_visible(&dir, &visible)?;
    remove_stale(&dir, &new, &visible)?;
    Ok(Written::Replaced)
}

fn failed<'a>(action: &'static str, name: &'a str) -> impl FnOnce(io::Error) -> WriteError + 'a {
    move |source| WriteError::Io { action, name: name.to_owned(), source }
}

/// Relative, without `..`, and not hiding among the generations.
fn is_sound(path: &str) -> bool {
    let components: Vec<_> = Path::new(path).components().collect();
    let plain = |c: &Component<'_>| matches!(c, Component::Normal(name) if name.len() <= MAX_NAME);
    !components.is_empty()
        && path.len() <= MAX_PATH
        && components.iter().all(plain)
        && !path.starts_with("..")
}

/// The name `..data` points to; `None` when nothing was published or the link is not ours.
fn current_generation(dir: &Beneath) -> Result<Option<String>, WriteError> {
    let target = dir.read_link(DATA).map_err(failed("read", DATA))?;
    Ok(target.filter(|name| name.starts_with("..") && !name.contains('/') && name.len() > 2))
}

/// True when the generation holds exactly these files; one that cannot be read is written anew.
fn holds(dir: &Beneath, generation: &str, payload: &Payload) -> bool {
    let Ok(dir) = dir.directory(Path::new(generation)) else { return false };
    let Ok(files) = dir.files() else { return false };
    files.len() == payload.len()
        && payload.iter().all(|(path, file)| {
            files.contains(path) && dir.read(Path::new(path)).is_ok_and(|bytes| bytes == file.bytes)
        })
}

fn first_components(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().filter_map(|path| path.split('/').next()).collect()
}

fn write_generation(
    dir: &Beneath,
    payload: &Payload,
    group: Option<u32>,
    now: Timestamp,
) -> Result<String, WriteError> {
    let directories = match group {
        Some(_) => Access { mode: DIR_MODE | 0o2110, user: None, group },
        None => Access { mode: DIR_MODE, user: None, group: None },
    };
    let (name, generation) = make_generation(dir, directories, now)?;
    for (path, file) in payload {
        let readable_by_group = if group.is_some() { 0o440 } else { 0 };
        let access = Access { mode: file.mode | readable_by_group, user: file.owner, group };
        generation
            .write_new(Path::new(path), &file.bytes, access, directories)
            .map_err(failed("write", path))?;
    }
    Ok(name)
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

/// Removes names that are shown no more and every generation but `current`: the one just
/// replaced, and those a crash left half written.
fn remove_stale(dir: &Beneath, current: &str, visible: &BTreeSet<&str>) -> Result<(), WriteError> {
    for name in dir.names().map_err(failed("list", "the directory"))? {
        let keep = name == DATA || name == current || visible.contains(name.as_str());
        if !keep {
            dir.remove(&name).map_err(failed("remove", &name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

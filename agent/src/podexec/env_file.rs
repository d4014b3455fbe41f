//! Pure. Variables from files that containers of the pod have written (`fileKeyRef`).
//!
//! A file holds lines `NAME='value'`; the single quotes are a must, a value can go over several
//! lines, blank lines and those that begin with `#` do not count.
//! Source: kubelet v1.36 `util/env/env_util.go`, KEP-3721.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as api;

use super::container_config::ContainerConfigError;

#[cfg(test)]
mod tests;

/// Most that is read of a file (KEP-3721).
pub const MAX_FILE: u64 = 64 * 1024;
/// Longest value in bytes (KEP-3721).
const MAX_VALUE: usize = 32 * 1024;

/// A file by its volume and its path in there.
pub type EnvFileName = (String, String);

/// What the files hold that a container's environment refers to; `None` is a missing file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFiles(pub BTreeMap<EnvFileName, Option<Vec<u8>>>);

/// The files that the environment of a container refers to.
pub fn env_file_names(container: &api::Container) -> BTreeSet<EnvFileName> {
    let sources = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref());
    let files = sources.filter_map(|source| source.file_key_ref.as_ref());
    files.map(|file| (file.volume_name.clone(), file.path.clone())).collect()
}

impl EnvFiles {
    /// The value a reference stands for; `None` for an optional one that is missing.
    pub fn value(
        &self,
        wanted: &api::FileKeySelector,
    ) -> Result<Option<Vec<u8>>, ContainerConfigError> {
        let (volume, path) = (wanted.volume_name.clone(), wanted.path.clone());
        let file = self.0.get(&(volume.clone(), path.clone())).and_then(Option::as_ref);
        let broken = |line, problem| ContainerConfigError::EnvFileBroken {
            volume: volume.clone(),
            path: path.clone(),
            line,
            problem,
        };
        let mut found = None;
        if let Some(bytes) = file {
            let text = std::str::from_utf8(bytes).map_err(|_| broken(1, "the file is no text"))?;
            let variables = parse(text).map_err(|(line, problem)| broken(line, problem))?;
            found = variables.into_iter().rev().find(|(name, _)| *name == wanted.key);
        }
        match found {
            Some((_, value)) if value.len() > MAX_VALUE => {
                Err(broken(1, "a value is longer than 32 KiB"))
            }
            Some((_, value)) => Ok(Some(value.as_bytes().to_vec())),
            None if wanted.optional.unwrap_or(false) => Ok(None),
            None => {
                Err(ContainerConfigError::FileKeyMissing { key: wanted.key.clone(), volume, path })
            }
        }
    }
}

/// The variables in the order of the file, or the number of the line that is none and why.
fn parse(text: &str) -> Result<Vec<(&str, &str)>, (usize, &'static str)> {
    let mut variables = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let entry = first.trim();
        if entry.is_empty() || entry.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let entry = rest.trim_start();
        let (name, value) = entry.split_once('=').ok_or((line, "there is no ="))?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err((line, "what stands before the = is no name"));
        }
        let quoted = value.strip_prefix('\'').ok_or((line, "the value is not in single quotes"))?;
        let (value, tail) =
            quoted.split_once('\'').ok_or((line, "the closing quote is missing"))?;
        let (tail, after) = tail.split_once('\n').unwrap_or((tail, ""));
        if !(tail.trim().is_empty() || tail.trim_start().starts_with('#')) {
            return Err((line, "something follows the closing quote"));
        }
        variables.push((name, value));
        (rest, line) = (after, line + 1 + value.matches('\n').count());
    }
    Ok(variables)
}

//! Reads configuration files: YAML or JSON, strict, drop-ins merged over the main file.

#![allow(clippy::disallowed_methods, reason = "read once, before there is anything to adapt")]

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::wire::{KubeletConfiguration, UNUSED_FIELDS};

#[cfg(test)]
mod tests;

/// API version the kubelet part reads.
const KUBELET_API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {path} (check the path and that it is readable by root)")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not valid YAML or JSON: {problem}")]
    Syntax { path: PathBuf, problem: String },
    #[error("{path}: {problem}")]
    Content { path: PathBuf, problem: String },
}

/// The text of a YAML or JSON file as one JSON object. Numbers keep their form, `yes` is text and
/// a key given twice is an error.
pub fn parse_object(path: &Path, text: &str) -> Result<Map<String, Value>, FileError> {
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    options.strict_booleans = true;
    let value: Option<Value> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| FileError::Syntax {
            path: path.to_owned(),
            problem: first_line(&error),
        })?;
    match value {
        Some(Value::Object(map)) => Ok(map),
        None | Some(Value::Null) => Ok(Map::new()),
        Some(_) => Err(FileError::Content {
            path: path.to_owned(),
            problem: "a configuration must be a mapping of fields".to_owned(),
        }),
    }
}

fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Reads the file at `path` as one object.
pub fn read_object(path: &Path) -> Result<Map<String, Value>, FileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    parse_object(path, &text)
}

/// The main file with the `*.conf` files of `drop_ins` merged over it in the order of their names.
pub fn read_with_drop_ins(
    main: Option<&Path>,
    drop_ins: Option<&Path>,
) -> Result<Map<String, Value>, FileError> {
    let mut merged = match main {
        Some(path) => read_object(path)?,
        None => Map::new(),
    };
    let Some(dir) = drop_ins else { return Ok(merged) };
    let read = |source| FileError::Read { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort();
    for file in files {
        merge(&mut merged, read_object(&file)?);
    }
    Ok(merged)
}

/// Lays `over` upon `under`: objects merge field by field, everything else is replaced.
pub fn merge(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// The KubeletConfiguration in `object`. An unknown field, a wrong type, another kind or version
/// is an error that names it; `path` is where the user is sent.
pub fn decode_kubelet(
    path: &Path,
    object: Map<String, Value>,
) -> Result<KubeletConfiguration, FileError> {
    let content = |problem| FileError::Content { path: path.to_owned(), problem };
    check_kind(&object, "KubeletConfiguration", KUBELET_API_VERSION).map_err(content)?;
    let config: KubeletConfiguration = decode(object).map_err(content)?;
    match config.unused.keys().find(|field| !UNUSED_FIELDS.contains(&field.as_str())) {
        Some(field) => Err(content(format!(
            "unknown field \"{field}\" in KubeletConfiguration; remove it or correct its spelling"
        ))),
        None => Ok(config),
    }
}

/// Refuses an object that calls itself something else. A missing kind is taken as meant, since
/// drop-in files may leave it out.
pub fn check_kind(object: &Map<String, Value>, kind: &str, version: &str) -> Result<(), String> {
    for (field, wanted) in [("kind", kind), ("apiVersion", version)] {
        match object.get(field).map(Value::as_str) {
            None => {}
            Some(Some(found)) if found == wanted => {}
            Some(found) => {
                let found = found.unwrap_or("something that is not text");
                return Err(format!("{field} is \"{found}\", expected \"{wanted}\""));
            }
        }
    }
    Ok(())
}

/// The typed form of an object; the error text names the field.
pub fn decode<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
}

//! Pure. Manifest text to pod objects, with errors that name the field.

use std::fmt;

use k8s_openapi::api::core::v1 as api;
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// One thing that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, e.g. `spec.containers[0].image`.
    pub field: String,
    pub what: String,
}

impl Problem {
    pub fn new(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { field: field.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.what)
    }
}

/// Why a manifest makes no pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("it is empty")]
    Empty,
    #[error("it is not valid YAML or JSON: {0}")]
    Syntax(String),
    #[error("it is not a pod: kind is {kind:?} and apiVersion {version:?}, not \"Pod\" and \"v1\"")]
    NotAPod { kind: String, version: String },
    /// Every problem found.
    #[error("{}", joined(.0))]
    Invalid(Vec<Problem>),
}

fn joined(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// The first document of a YAML or JSON text, and how many there are. Numbers keep their form, an
/// octal `0644` is a number, `yes` is text.
pub fn parse_document(text: &str) -> Result<(Value, usize), ManifestError> {
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    options.strict_booleans = true;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            ManifestError::Syntax(error.to_string().lines().next().unwrap_or_default().to_owned())
        })?;
    let mut documents = documents.into_iter().filter(|document| !document.is_null());
    let first = documents.next().ok_or(ManifestError::Empty)?;
    Ok((first, 1 + documents.count()))
}

/// The pods of a document that is a Pod, a PodList or a List.
pub fn split_list(document: Value) -> Vec<Value> {
    let is_list = matches!(text(&document, "kind"), "PodList" | "List");
    match document {
        Value::Object(mut map) if is_list => match map.remove("items") {
            Some(Value::Array(items)) => items.into_iter().map(as_item).collect(),
            _ => Vec::new(),
        },
        other => vec![other],
    }
}

/// Items of a typed list may leave kind and version out.
fn as_item(mut item: Value) -> Value {
    if let Some(map) = item.as_object_mut() {
        map.entry("kind").or_insert_with(|| "Pod".into());
        map.entry("apiVersion").or_insert_with(|| "v1".into());
    }
    item
}

/// The pod a document describes, and fields in it that no pod has and that count for nothing.
pub fn decode_pod(mut document: Value) -> Result<(api::Pod, Vec<String>), ManifestError> {
    let (kind, version) = (text(&document, "kind"), text(&document, "apiVersion"));
    if (kind, version) != ("Pod", "v1") {
        let (kind, version) = (kind.to_owned(), version.to_owned());
        return Err(ManifestError::NotAPod { kind, version });
    }
    quantities_as_text(&mut document);
    match serde_json::from_value::<api::Pod>(document.clone()) {
        Ok(pod) => {
            let known = serde_json::to_value(&pod).unwrap_or_default();
            let mut unknown = Vec::new();
            unknown_fields(&document, &known, "", &mut unknown);
            Ok((pod, unknown))
        }
        Err(error) => {
            let field = culprit(&document).unwrap_or_else(|| "manifest".to_owned());
            Err(ManifestError::Invalid(vec![Problem::new(field, error.to_string())]))
        }
    }
}

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Quantities may be written as numbers (`cpu: 1`), as the API server takes them.
fn quantities_as_text(document: &mut Value) {
    let Some(spec) = document.get_mut("spec") else { return };
    amounts(spec.get_mut("overhead"));
    for list in ["limits", "requests"] {
        amounts(spec.pointer_mut(&format!("/resources/{list}")));
    }
    for kind in ["containers", "initContainers"] {
        for container in elements(spec.get_mut(kind)) {
            for list in ["limits", "requests"] {
                amounts(container.pointer_mut(&format!("/resources/{list}")));
            }
            for variable in elements(container.get_mut("env")) {
                amount(variable.pointer_mut("/valueFrom/resourceFieldRef/divisor"));
            }
        }
    }
    for volume in elements(spec.get_mut("volumes")) {
        amount(volume.pointer_mut("/emptyDir/sizeLimit"));
        for item in elements(volume.pointer_mut("/downwardAPI/items")) {
            amount(item.pointer_mut("/resourceFieldRef/divisor"));
        }
    }
}

fn elements(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

fn amounts(map: Option<&mut Value>) {
    for value in map.and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        amount(Some(value));
    }
}

fn amount(value: Option<&mut Value>) {
    if let Some(value) = value.filter(|value| value.is_number()) {
        *value = Value::String(value.to_string());
    }
}

/// Paths in `given` that are missing in `known`, which is `given` after it went through the type.
fn unknown_fields(given: &Value, known: &Value, path: &str, found: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match known.get(name) {
                    Some(known) => unknown_fields(value, known, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                unknown_fields(given, known, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// The deepest field without which the rest of the document makes a pod: the one of the wrong
/// type. `None` when there are several.
fn culprit(document: &Value) -> Option<String> {
    let mut places = Vec::new();
    all_places(document, String::new(), String::new(), &mut places);
    let decodes = |pointer: &str| {
        let mut without = document.clone();
        remove(&mut without, pointer);
        serde_json::from_value::<api::Pod>(without).is_ok()
    };
    places.into_iter().find(|(pointer, _)| decodes(pointer)).map(|(_, path)| path)
}

/// Takes away what a JSON pointer leads to.
fn remove(document: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(&last.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(list)) => {
            if let Some(index) = last.parse().ok().filter(|index| *index < list.len()) {
                list.remove(index);
            }
        }
        _ => {}
    }
}

/// JSON pointers of everything in `value` with their paths for people, the deepest first.
fn all_places(value: &Value, pointer: String, path: String, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                all_places(value, format!("{pointer}/{escaped}"), below, found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                let below = format!("{path}[{index}]");
                all_places(value, format!("{pointer}/{index}"), below, found);
            }
        }
        _ => {}
    }
    if !path.is_empty() {
        found.push((pointer, path));
    }
}

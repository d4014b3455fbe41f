//! Pure. The file that says which ids a pod has, in the kubelet's form.

use serde::{Deserialize, Serialize};

/// Name of the file in the pod's directory (kubelet v1.36).
pub(super) const FILE: &str = "userns";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdMapping {
    host_id: u32,
    container_id: u32,
    length: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mappings {
    uid_mappings: Vec<IdMapping>,
    gid_mappings: Vec<IdMapping>,
}

/// What a file says is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingsError {
    #[error("invalid user namespace mappings file: {0}")]
    Malformed(String),
    #[error("invalid user namespace configuration: no more than one mapping allowed.")]
    Count,
    #[error("invalid user namespace configuration: GID and UID mappings should be identical.")]
    Differ,
    #[error("invalid user namespace configuration: UID 0 must be mapped")]
    NoRoot,
}

/// The ids of the node that ids of a pod, from 0 on, are mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdBlock {
    pub first: u32,
    pub length: u32,
}

/// The block in the text of a file; `None` in an empty one, which a machine that lost power may
/// leave.
pub(super) fn parse(text: &[u8]) -> Result<Option<IdBlock>, MappingsError> {
    if text.is_empty() {
        return Ok(None);
    }
    let mappings: Mappings = serde_json::from_slice(text)
        .map_err(|error| MappingsError::Malformed(error.to_string()))?;
    let [users] = mappings.uid_mappings.as_slice() else { return Err(MappingsError::Count) };
    if mappings.gid_mappings.as_slice() != [*users] {
        return Err(MappingsError::Differ);
    }
    if users.container_id != 0 {
        return Err(MappingsError::NoRoot);
    }
    Ok(Some(IdBlock { first: users.host_id, length: users.length }))
}

/// The text of the file of a pod with this block.
pub(super) fn render(block: IdBlock) -> String {
    let mapping = IdMapping { host_id: block.first, container_id: 0, length: block.length };
    let mappings = Mappings { uid_mappings: vec![mapping], gid_mappings: vec![mapping] };
    // A struct of numbers always has a text.
    serde_json::to_string(&mappings).unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! Pure. The files of a volume before they are written: paths, modes, bytes.
//! Source: kubelet v1.36 `volume/configmap`, `volume/secret`.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1 as api;

use crate::objects::SecretObject;

/// One file.
#[derive(Clone, PartialEq, Eq)]
pub struct PayloadFile {
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owning user; `None` is root.
    pub owner: Option<u32>,
}

impl fmt::Debug for PayloadFile {
    /// Shows the length only: the content may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayloadFile({} bytes, {:o}, {:?})", self.bytes.len(), self.mode, self.owner)
    }
}

/// Files by path relative to the volume.
pub type Payload = BTreeMap<String, PayloadFile>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    #[error("configmap references non-existent config key: {0}")]
    ConfigMapKey(String),
    #[error("references non-existent secret key: {0}")]
    SecretKey(String),
}

/// The files of a ConfigMap: those of `items`, or every key under its own name. With `optional`,
/// missing keys are left out.
pub fn config_map_payload(
    map: &api::ConfigMap,
    items: &[api::KeyToPath],
    mode: i32,
    optional: bool,
) -> Result<Payload, PayloadError> {
    let text = |key: &str| map.data.as_ref()?.get(key).map(|text| text.as_bytes());
    let binary = |key: &str| map.binary_data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice());
    let keys = map.data.iter().flatten().map(|(key, _)| key.as_str());
    let keys = keys.chain(map.binary_data.iter().flatten().map(|(key, _)| key.as_str()));
    let get = |key: &str| text(key).or_else(|| binary(key)).map(<[u8]>::to_vec);
    select(Selection { items, mode, optional }, keys, get).map_err(PayloadError::ConfigMapKey)
}

/// The same for a Secret.
pub fn secret_payload(
    secret: &SecretObject,
    items: &[api::KeyToPath],
    mode: i32,
    optional: bool,
) -> Result<Payload, PayloadError> {
    let keys = secret.entries().map(|(key, _)| key);
    let get = |key: &str| secret.get(key).map(<[u8]>::to_vec);
    select(Selection { items, mode, optional }, keys, get).map_err(PayloadError::SecretKey)
}

struct Selection<'a> {
    items: &'a [api::KeyToPath],
    mode: i32,
    optional: bool,
}

/// The chosen files, or the first key that is missing.
fn select<'k>(
    wanted: Selection<'_>,
    keys: impl Iterator<Item = &'k str>,
    get: impl Fn(&str) -> Option<Vec<u8>>,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    if wanted.items.is_empty() {
        for key in keys {
            if let Some(bytes) = get(key) {
                payload.insert(key.to_owned(), file(bytes, wanted.mode));
            }
        }
        return Ok(payload);
    }
    for item in wanted.items {
        match get(&item.key) {
            Some(bytes) => {
                let mode = item.mode.unwrap_or(wanted.mode);
                payload.insert(item.path.clone(), file(bytes, mode));
            }
            None if wanted.optional => {}
            None => return Err(item.key.clone()),
        }
    }
    Ok(payload)
}

/// A file of root with the permission bits of `mode`.
pub(super) fn file(bytes: Vec<u8>, mode: i32) -> PayloadFile {
    PayloadFile { bytes, mode: u32::try_from(mode).unwrap_or(0) & 0o777, owner: None }
}

#[cfg(test)]
mod tests;

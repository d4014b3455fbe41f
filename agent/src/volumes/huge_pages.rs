//! Pure. Which pages a volume of medium `HugePages` or `HugePages-<size>` is made of.
//! Source: kubelet v1.36 `volume/emptydir/empty_dir.go`.

use k8s_openapi::api::core::v1 as api;

use crate::model::quantity::Quantity;
use crate::model::resources::{HUGE_PAGES_PREFIX, container_requests, read};

/// The medium that takes the page size from what the pod asks for.
const ANY_SIZE: &str = "HugePages";
/// Before a page size.
const OF_SIZE: &str = "HugePages-";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HugePagesError {
    #[error(
        "medium {0}: hugePages storage requested, but there is no resource request for huge pages"
    )]
    NotRequested(String),
    #[error("medium: {0} can't be used if container requests multiple huge page sizes")]
    SeveralSizes(String),
    #[error("medium {0}: the page size cannot be read")]
    BadSize(String),
    #[error("medium {0}: huge pages of this size are not supported by this node")]
    NoSuchPages(String),
}

/// Whether the medium of an emptyDir is one of huge pages.
pub(super) fn is_huge_pages(medium: &str) -> bool {
    medium == ANY_SIZE || medium.starts_with(OF_SIZE)
}

/// Bytes of one page. A container or the pod itself has to ask for pages of the size; without a
/// size in the medium, all that ask have to agree on it.
pub(super) fn page_bytes(medium: &str, spec: &api::PodSpec) -> Result<u64, HugePagesError> {
    let pod = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let requests = containers.map(container_requests).chain([read(pod)]);
    let names = requests.flat_map(|requests| requests.into_keys());
    let mut asked: Vec<u64> =
        names.filter_map(|name| bytes(name.strip_prefix(HUGE_PAGES_PREFIX)?)).collect();
    asked.sort_unstable();
    asked.dedup();
    if let Some(size) = medium.strip_prefix(OF_SIZE) {
        let size = bytes(size).ok_or_else(|| HugePagesError::BadSize(medium.to_owned()))?;
        let found = asked.contains(&size).then_some(size);
        return found.ok_or_else(|| HugePagesError::NotRequested(medium.to_owned()));
    }
    match asked[..] {
        [] => Err(HugePagesError::NotRequested(medium.to_owned())),
        [size] => Ok(size),
        _ => Err(HugePagesError::SeveralSizes(medium.to_owned())),
    }
}

fn bytes(size: &str) -> Option<u64> {
    u64::try_from(Quantity::parse(size).ok()?.value()).ok().filter(|bytes| *bytes > 0)
}

/// The limit as whole pages, which the kernel would round down: to none, if it is small.
pub(super) fn whole_pages(size_bytes: u64, page_bytes: u64) -> u64 {
    size_bytes.div_ceil(page_bytes).saturating_mul(page_bytes)
}

#[cfg(test)]
mod tests;

//! Pure. How many ids the user namespace of a pod has.

use super::resolve::Reader;
use super::wire::KubeletConfiguration;
use crate::user_namespaces::UNIT;

/// `userNamespaces.idsPerPod`; [`UNIT`] when it is not set (v1.36).
pub(super) fn resolve(reader: &mut Reader, wire: &KubeletConfiguration) -> u32 {
    let set = wire.user_namespaces.as_ref().and_then(|namespaces| namespaces.ids_per_pod);
    let Some(wanted) = set else { return UNIT };
    let mut complain = |what: String| {
        reader.problems.push(format!("userNamespaces.idsPerPod: {what}"));
        UNIT
    };
    match u32::try_from(wanted) {
        _ if wanted < i64::from(UNIT) => complain(format!("must not be less than {UNIT}")),
        Err(_) => complain(format!("must not be more than {}", u32::MAX)),
        Ok(number) if !number.is_multiple_of(UNIT) => {
            complain(format!("must be a multiple of {UNIT}"))
        }
        Ok(number) => number,
    }
}

#[cfg(test)]
mod tests;

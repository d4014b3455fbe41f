//! Pure. The ids of the node that pods may be mapped to.

/// `idsPerPod` is a multiple of this (kubelet v1.36).
pub const UNIT: u32 = 65_536;

/// A range of ids as `/etc/subuid` and its like grant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubordinateIds {
    pub first: u32,
    pub length: u32,
}

/// Why the granted range cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubordinateIdsError {
    #[error(
        "getsubids lists {0:?} for user kubelet, one line like \"0: kubelet 65536 2147483648\" is needed"
    )]
    Malformed(String),
    #[error("subordinate user and group ids of user kubelet differ")]
    Differ,
}

impl SubordinateIds {
    /// The range in what `getsubids kubelet` and `getsubids -g kubelet` print; both must be one
    /// and the same.
    pub fn parse(users: &str, groups: &str) -> Result<Self, SubordinateIdsError> {
        if users != groups {
            return Err(SubordinateIdsError::Differ);
        }
        let parse = || {
            let mut lines = users.trim_matches('\n').lines();
            let (line, None) = (lines.next()?, lines.next()) else { return None };
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, _, first, length] = words.as_slice() else { return None };
            Some(Self { first: first.parse().ok()?, length: length.parse().ok()? })
        };
        parse().ok_or_else(|| SubordinateIdsError::Malformed(users.to_owned()))
    }
}

/// The range cannot be cut into blocks, or into too few.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostIdsError {
    #[error("kubelet user namespace length {0} is not a multiple of {UNIT}")]
    Length(u32),
    #[error("kubelet user assigned ID {first} is not a multiple of {per_pod}")]
    Unaligned { first: u32, per_pod: u32 },
    /// Root of a pod would be root of the node, or a user of it.
    #[error("kubelet user assigned ID {first} must be greater or equal to {per_pod}")]
    TooLow { first: u32, per_pod: u32 },
    #[error("kubelet user assigned IDs length {length} is not a multiple of {per_pod}")]
    Rest { length: u32, per_pod: u32 },
    #[error("kubelet user assigned IDs are not enough to support {0} pods")]
    TooFew(u32),
}

/// Blocks of `per_pod` ids, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostIds {
    first: u32,
    blocks: u32,
    per_pod: u32,
}

impl HostIds {
    /// The blocks of the granted range, or without one all ids from `per_pod` on. The block that
    /// holds the highest id is left out: the kernel keeps that id for "none" and refuses to map it.
    pub fn plan(
        per_pod: u32,
        granted: Option<SubordinateIds>,
        max_pods: u32,
    ) -> Result<Self, HostIdsError> {
        if per_pod == 0 || !per_pod.is_multiple_of(UNIT) {
            return Err(HostIdsError::Length(per_pod));
        }
        // Of the upper end only the usable part counts.
        let to_the_end = |first: u32| u32::MAX - first;
        let (first, blocks) = match granted {
            None => (per_pod, to_the_end(per_pod) / per_pod),
            Some(SubordinateIds { first, length }) => {
                if !first.is_multiple_of(per_pod) {
                    return Err(HostIdsError::Unaligned { first, per_pod });
                }
                if first < per_pod {
                    return Err(HostIdsError::TooLow { first, per_pod });
                }
                if !length.is_multiple_of(per_pod) {
                    return Err(HostIdsError::Rest { length, per_pod });
                }
                (first, length.min(to_the_end(first)) / per_pod)
            }
        };
        if blocks < max_pods {
            return Err(HostIdsError::TooFew(max_pods));
        }
        Ok(Self { first, blocks, per_pod })
    }

    /// Ids in a block.
    pub fn per_pod(self) -> u32 {
        self.per_pod
    }

    /// How many blocks there are.
    pub fn blocks(self) -> u32 {
        self.blocks
    }

    /// First id of a block, which is below [`Self::blocks`].
    pub fn first_of(self, block: u32) -> u32 {
        self.first + block * self.per_pod
    }

    /// The block that begins with `first_id`; `None` when none does.
    pub fn block_at(self, first_id: u32) -> Option<u32> {
        let offset = first_id.checked_sub(self.first)?;
        let block = offset / self.per_pod;
        (offset.is_multiple_of(self.per_pod) && block < self.blocks).then_some(block)
    }
}

#[cfg(test)]
mod tests;

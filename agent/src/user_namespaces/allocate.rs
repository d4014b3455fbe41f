//! Pure. Which pod has which block, and which block is given out next.

use std::collections::{BTreeMap, BTreeSet};

use super::host_ids::HostIds;
use super::mappings::{IdBlock, MappingsError};
use crate::model::PodUid;

/// A block on disk cannot be the pod's, or there is none to give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    #[error(transparent)]
    Mappings(#[from] MappingsError),
    #[error("wrong user namespace length {0}")]
    Length(u32),
    #[error("id {0} is out of range")]
    OutOfRange(u32),
    #[error("range picked for pod \"{0}\" already taken")]
    Taken(PodUid),
    #[error("could not find an empty slot to allocate a user namespace")]
    Exhausted,
}

/// The blocks in use.
#[derive(Debug)]
pub(super) struct Allocations {
    ids: HostIds,
    by_pod: BTreeMap<PodUid, u32>,
    taken: BTreeSet<u32>,
    /// Where the search for a free block begins.
    next: u32,
}

impl Allocations {
    pub fn new(ids: HostIds) -> Self {
        Self { ids, by_pod: BTreeMap::new(), taken: BTreeSet::new(), next: 0 }
    }

    /// The block of a pod.
    pub fn of(&self, pod: &PodUid) -> Option<IdBlock> {
        self.by_pod.get(pod).map(|number| self.block(*number))
    }

    /// Takes in the block that an earlier noded gave the pod. Errors when it is none of the
    /// blocks of this node, or another pod's.
    pub fn record(&mut self, pod: &PodUid, block: IdBlock) -> Result<(), AllocationError> {
        if block.length != self.ids.per_pod() {
            return Err(AllocationError::Length(block.length));
        }
        let number = self.ids.block_at(block.first);
        let number = number.ok_or(AllocationError::OutOfRange(block.first))?;
        if self.by_pod.get(pod) == Some(&number) {
            return Ok(());
        }
        if self.by_pod.contains_key(pod) || !self.taken.insert(number) {
            return Err(AllocationError::Taken(pod.clone()));
        }
        self.by_pod.insert(pod.clone(), number);
        self.next = self.next.max(number + 1);
        Ok(())
    }

    /// The pod's block, a free one if it has none yet. A block that was given back is given out
    /// again as late as possible, so that files a pod leaves behind are nobody's for long.
    pub fn allocate(&mut self, pod: &PodUid) -> Result<IdBlock, AllocationError> {
        if let Some(block) = self.of(pod) {
            return Ok(block);
        }
        let free = next_free(self.ids.blocks(), &self.taken, self.next);
        let number = free.ok_or(AllocationError::Exhausted)?;
        self.next = number + 1;
        self.taken.insert(number);
        self.by_pod.insert(pod.clone(), number);
        Ok(self.block(number))
    }

    /// Takes the pod's block back.
    pub fn release(&mut self, pod: &PodUid) {
        if let Some(number) = self.by_pod.remove(pod) {
            self.taken.remove(&number);
        }
    }

    fn block(&self, number: u32) -> IdBlock {
        IdBlock { first: self.ids.first_of(number), length: self.ids.per_pod() }
    }
}

/// The first of `blocks` blocks that is not taken, from `from` on and then from the beginning.
fn next_free(blocks: u32, taken: &BTreeSet<u32>, from: u32) -> Option<u32> {
    let from = if from < blocks { from } else { 0 };
    (from..blocks).chain(0..from).find(|number| !taken.contains(number))
}

#[cfg(test)]
mod tests;

//! Pure. All fates of the first packet of a connection in an nftables table.

use std::collections::{BTreeMap, BTreeSet};

use super::packet::{Fate, Packet};
pub use crate::explain::nft_walk::Remembered;
use crate::explain::nft_walk::walk_table;
use crate::nftables::NftState;

/// A table and what it remembers of clients.
#[derive(Clone, Debug)]
pub struct NftTracer<'s> {
    state: &'s NftState,
    /// What it remembers.
    pub remembered: Remembered,
}

/// One way that chance may take with a packet.
#[derive(Clone, Debug)]
pub struct NftWay {
    /// What becomes of the packet.
    pub fate: Fate,
    /// How probable it is.
    pub share: f64,
    /// What is remembered of clients afterwards.
    pub remembered: Remembered,
    /// Whether it leaves with a class of ours in its priority.
    pub classified: bool,
}

impl<'s> NftTracer<'s> {
    /// A tracer that remembers no client.
    pub fn new(state: &'s NftState) -> Self {
        Self { state, remembered: Remembered::new() }
    }

    /// All possible fates.
    pub fn fates(&self, packet: &Packet) -> BTreeSet<Fate> {
        self.shares(packet).into_keys().collect()
    }

    /// All possible fates with their probabilities.
    pub fn shares(&self, packet: &Packet) -> BTreeMap<Fate, f64> {
        let mut shares = BTreeMap::new();
        for way in self.ways(packet) {
            *shares.entry(way.fate).or_default() += way.share;
        }
        shares
    }

    /// All ways that chance may take. Panics on a table with a flaw.
    pub fn ways(&self, packet: &Packet) -> Vec<NftWay> {
        let walk = walk_table(packet, self.state, &self.remembered);
        assert!(walk.flaws.is_empty(), "{:?}", walk.flaws);
        let ways = walk.ways.into_iter().map(|way| {
            assert!(way.assumed.is_empty(), "the interface is not told: {:?}", way.assumed);
            NftWay {
                fate: Fate { verdict: way.verdict, masqueraded: way.masqueraded },
                share: way.share,
                remembered: way.remembered,
                classified: way.classified,
            }
        });
        ways.collect()
    }
}

//! Pure. All fates of the first packet of a connection, without the ways that lead there.

use std::collections::BTreeSet;

pub use crate::explain::plan::tables_of as live_tables;
use crate::explain::walk::Ruleset;
pub use crate::explain::walk::{Packet, Verdict};
use crate::iptables::parse::LiveTables;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fate {
    /// Where it ends.
    pub verdict: Verdict,
    /// Whether its source is replaced.
    pub masqueraded: bool,
}

impl Packet {
    /// All possible fates. Panics on rules with a flaw, and on any that the proxy does not write.
    pub fn fates(&self, tables: &LiveTables) -> BTreeSet<Fate> {
        let walk = self.walk(Ruleset { tables, policies: None, jumps: None });
        assert!(walk.flaws.is_empty(), "{:?}", walk.flaws);
        let all: f64 = walk.ways.iter().map(|way| way.share).sum();
        assert!((all - 1.0).abs() < 1e-6, "the shares add up to {all}");
        let fates = walk.ways.iter().map(|way| {
            assert!(way.assumed.is_empty(), "the interface is not told: {:?}", way.assumed);
            Fate { verdict: way.verdict, masqueraded: way.masqueraded }
        });
        fates.collect()
    }
}

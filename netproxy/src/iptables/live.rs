//! Pure. The output of iptables-save, line by line, as what is live of a wanted rule set.
//!
//! The tables of a big cluster are larger than everything else the proxy holds, and mostly what
//! is wanted already. So rules that are as wanted are shared with the wanted ones, and rules of
//! others are forgotten at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::parse::parse_rule;
use crate::config::IpFamily;
use crate::rules::chains::is_owned;
use crate::rules::ruleset::{Chain, ChainKey, Rule, RuleSet, Table};

/// Takes lines in; see [`finish`](Self::finish).
pub struct LiveReader<'a> {
    wanted: &'a RuleSet,
    family: IpFamily,
    table: Option<Table>,
    open: Option<OpenChain<'a>>,
    chains: BTreeMap<ChainKey, Chain>,
    /// For each wanted jump, whether it was seen.
    jumps: Vec<bool>,
    unreadable: BTreeSet<Table>,
}

/// What is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The chains we own, chains that the wanted rule set shares with somebody else, and those of
    /// its jumps that exist.
    pub rules: RuleSet,
    /// Tables with rules that iptables cannot express; nothing of them is in `rules`.
    pub unreadable: BTreeSet<Table>,
}

/// The chain whose rules come in.
struct OpenChain<'a> {
    key: ChainKey,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// A chain of the rule set: its rules so far, and those it should have.
    Ours(Vec<Arc<Rule>>, Option<&'a Chain>),
    /// A chain from which jumps lead to ours.
    WithJumps,
    /// Not of interest.
    Foreign,
}

impl<'a> LiveReader<'a> {
    /// A reader that was given nothing yet.
    pub fn new(wanted: &'a RuleSet, family: IpFamily) -> Self {
        Self {
            wanted,
            family,
            table: None,
            open: None,
            chains: BTreeMap::new(),
            jumps: vec![false; wanted.jumps.len()],
            unreadable: BTreeSet::new(),
        }
    }

    /// Takes one line in. Tables we do not use are skipped, and nothing in a foreign chain can make
    /// this fail.
    pub fn line(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix('*') {
            self.close();
            self.table = Table::ALL.into_iter().find(|table| table.name() == name.trim());
            return;
        }
        if let Some(table) = incompatible(line) {
            self.unreadable.insert(table);
            return;
        }
        let Some(table) = self.table else { return };
        if let Some(rest) = line.strip_prefix(':') {
            let name = rest.split_whitespace().next().unwrap_or_default();
            if let Some(key) = self.ours(table, name) {
                self.chains.entry(key).or_insert_with(|| [].into());
            }
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let (name, words) = rest.split_once(' ').unwrap_or((rest, ""));
            let open = self.open.as_ref().is_some_and(|open| *open.key.name == *name);
            if !open {
                self.close();
                self.open(table, name);
            }
            self.rule(words);
        }
    }

    /// The live state of what the rule set is about.
    pub fn finish(mut self) -> Live {
        self.close();
        let seen = self.wanted.jumps.iter().zip(&self.jumps).filter(|(_, seen)| **seen);
        let jumps = seen.map(|(jump, _)| jump.clone()).collect();
        Live { rules: RuleSet { chains: self.chains, jumps }, unreadable: self.unreadable }
    }

    /// The key of a chain that is ours, its name shared with the wanted one.
    fn ours(&self, table: Table, name: &str) -> Option<ChainKey> {
        let key = ChainKey::new(table, name);
        match self.wanted.chains.get_key_value(&key) {
            Some((key, _)) => Some(key.clone()),
            None => is_owned(&key).then_some(key),
        }
    }

    fn open(&mut self, table: Table, name: &str) {
        let (key, kind) = match self.ours(table, name) {
            Some(key) => {
                let rules = self.chains.get(&key).map(|chain| chain.to_vec()).unwrap_or_default();
                let wanted = self.wanted.chains.get(&key);
                (key, Kind::Ours(rules, wanted))
            }
            None => {
                let jumps = &self.wanted.jumps;
                let known = jumps.iter().any(|jump| jump.table == table && jump.from == name);
                let kind = if known { Kind::WithJumps } else { Kind::Foreign };
                (ChainKey::new(table, name), kind)
            }
        };
        self.open = Some(OpenChain { key, kind });
    }

    fn rule(&mut self, words: &str) {
        let Some(open) = &mut self.open else { return };
        match &mut open.kind {
            Kind::Foreign => {}
            Kind::WithJumps => {
                let rule = parse_rule(words, self.family);
                for (jump, seen) in self.wanted.jumps.iter().zip(&mut self.jumps) {
                    *seen |= jump.table == open.key.table
                        && *jump.from == *open.key.name
                        && rule.equivalent(&jump.rule);
                }
            }
            Kind::Ours(rules, wanted) => {
                let rule = parse_rule(words, self.family);
                let known = wanted.and_then(|chain| chain.get(rules.len()));
                rules.push(match known.filter(|known| known.equivalent(&rule)) {
                    Some(known) => Arc::clone(known),
                    None => Arc::new(rule),
                });
            }
        }
    }

    fn close(&mut self) {
        let Some(OpenChain { key, kind: Kind::Ours(rules, wanted) }) = self.open.take() else {
            return;
        };
        let same = wanted.filter(|wanted| {
            wanted.len() == rules.len() && wanted.iter().zip(&rules).all(|(a, b)| Arc::ptr_eq(a, b))
        });
        self.chains.insert(key, same.cloned().unwrap_or_else(|| rules.into()));
    }
}

/// The table of the remark that stands for a whole table in a dump of the nft flavour when
/// somebody wrote rules there by other means.
fn incompatible(line: &str) -> Option<Table> {
    let name =
        line.strip_prefix("# Table `")?.strip_suffix("' is incompatible, use 'nft' tool.")?;
    Table::ALL.into_iter().find(|table| table.name() == name)
}

#[cfg(test)]
mod tests;

//! Pure. Saved iptables rules in a form in which two writers of the same rules agree.
//!
//! **What.** Reads what `iptables-save` prints and forgets what no packet can tell: counters,
//! comment lines, the order of tables and chains, and the order of services in the chains that
//! all services share, and of the addresses with node ports. Order inside a chain for one service counts, and so does the place of the
//! rules of no service before, between and after those of services.
//! **Invariants.** Everything else is kept word by word: both texts come from the same kernel, so
//! a rule that was written differently but means the same prints the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Chains that hold rules of all services.
const SHARED_CHAINS: [&str; 4] =
    ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL"];

/// The rules of all tables: table and chain to the chain's rules, in an order that is the same for
/// the same meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SavedRules {
    chains: BTreeMap<(String, String), Vec<String>>,
}

impl SavedRules {
    /// Reads the output of `iptables-save` or `ip6tables-save`. Lines that are neither tables,
    /// chains nor rules are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut chains: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        let mut table = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                name.clone_into(&mut table);
            } else if let Some(header) = line.strip_prefix(':') {
                let name = header.split(' ').next().unwrap_or_default();
                chains.entry((table.clone(), name.to_owned())).or_default();
            } else if let Some((name, rule)) =
                line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
            {
                chains.entry((table.clone(), name.to_owned())).or_default().push(rule.to_owned());
            }
        }
        for ((_, name), rules) in &mut chains {
            if SHARED_CHAINS.contains(&name.as_str()) {
                sort_services(rules);
            }
        }
        // Whether an unused built-in chain is listed depends on who touched its table.
        chains.retain(|(_, name), rules| name.starts_with("KUBE-") || !rules.is_empty());
        Self { chains }
    }

    /// Whether a rule of any chain contains a text.
    #[must_use]
    pub fn mention(&self, text: &str) -> bool {
        self.chains.values().flatten().any(|rule| rule.contains(text))
    }

    /// Number of rules in all chains.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chains.values().map(Vec::len).sum()
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where `other` differs: for each such chain its name, then its rules with a minus where only
    /// `self` has them and a plus where only `other` does. Empty when they are equal.
    #[must_use]
    pub fn differences(&self, other: &Self) -> String {
        let all: BTreeSet<_> = self.chains.keys().chain(other.chains.keys()).collect();
        let mut text = String::new();
        for key in all {
            let (ours, theirs) = (self.chains.get(key), other.chains.get(key));
            if ours == theirs {
                continue;
            }
            let _ = writeln!(text, "{} {}:", key.0, key.1);
            match (ours, theirs) {
                (Some(_), None) => text += "  - the chain\n",
                (None, Some(_)) => text += "  + the chain\n",
                _ => {}
            }
            let none = Vec::new();
            describe(ours.unwrap_or(&none), theirs.unwrap_or(&none), &mut text);
        }
        text
    }
}

/// Rules of one chain that the other has not; the part between the equal ends when only the order
/// differs.
fn describe(ours: &[String], theirs: &[String], text: &mut String) {
    let only = |mark: char, some: &[String], others: &[String], text: &mut String| {
        let mut left: Vec<&String> = others.iter().collect();
        for rule in some {
            match left.iter().position(|other| *other == rule) {
                Some(at) => drop(left.swap_remove(at)),
                None => {
                    let _ = writeln!(text, "  {mark} {rule}");
                }
            }
        }
    };
    let before = text.len();
    only('-', ours, theirs, text);
    only('+', theirs, ours, text);
    if text.len() == before && ours != theirs {
        *text += "  the order differs\n";
        let same = |pair: &(&String, &String)| pair.0 == pair.1;
        let first = ours.iter().zip(theirs).take_while(same).count();
        let last = ours.iter().rev().zip(theirs.iter().rev()).take_while(same).count();
        for (mark, rules) in [('-', ours), ('+', theirs)] {
            for rule in &rules[first..rules.len() - last] {
                let _ = writeln!(text, "  {mark} {rule}");
            }
        }
    }
}

/// Orders each unbroken run of rules of services by the service, keeping the order of one
/// service's rules; and the last rules, one for each address with node ports, of which a packet
/// can match only one, by their text.
fn sort_services(rules: &mut [String]) {
    sort_runs(rules, service_of);
    sort_runs(rules, |rule| rule.ends_with("-j KUBE-NODEPORTS").then_some(rule));
}

/// Sorts each unbroken run of rules that have a key by it; stable.
fn sort_runs(rules: &mut [String], key: impl Fn(&str) -> Option<&str>) {
    let mut start = 0;
    while start < rules.len() {
        let length = rules[start..].iter().take_while(|rule| key(rule).is_some()).count();
        rules[start..start + length].sort_by(|left, right| key(left).cmp(&key(right)));
        start += length + 1;
    }
}

/// The service port a rule is about: the first word of its comment, `namespace/name:port`; nothing
/// for a rule of no service.
fn service_of(rule: &str) -> Option<&str> {
    let (_, comment) = rule.split_once("--comment ")?;
    let comment = comment.strip_prefix('"').unwrap_or(comment);
    let word = comment.split([' ', '"']).next()?;
    word.contains('/').then_some(word)
}

#[cfg(test)]
mod tests;

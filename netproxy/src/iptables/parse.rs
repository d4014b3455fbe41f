//! Pure. The text of iptables-save to chains and rules.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::render::reject_with;
use crate::config::IpFamily;
use crate::input::{Protocol, parse_cidr, parse_ip};
use crate::rules::chains::is_owned;
use crate::rules::ruleset::{
    Address, Chain, ChainKey, ConnStates, Interface, Match, Probability, Rule, RuleSet, Side,
    Table, Target,
};

/// Chains and rules that are live in the tables we use, including those of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveTables {
    /// Every chain with its rules.
    pub chains: BTreeMap<ChainKey, Vec<Arc<Rule>>>,
}

impl LiveTables {
    /// The live state of what `wanted` is about: all chains we own, chains that `wanted` shares
    /// with somebody else, and those of its jumps that exist. A shared chain in which `wanted` has
    /// no rules counts as empty: what is in it is not ours to take away.
    pub fn compared_with(&self, wanted: &RuleSet) -> RuleSet {
        let chains = self
            .chains
            .iter()
            .filter(|(key, _)| is_owned(key) || wanted.chains.contains_key(*key))
            .map(|(key, rules)| {
                let chain = match wanted.chains.get(key) {
                    Some(nothing) if nothing.is_empty() && !is_owned(key) => nothing.clone(),
                    _ => Chain::from(rules.as_slice()),
                };
                (key.clone(), chain)
            })
            .collect();
        let exists = |table, from: &str, rule: &Rule| {
            self.chains
                .get(&ChainKey::new(table, from))
                .is_some_and(|rules| rules.iter().any(|live| live.equivalent(rule)))
        };
        let jumps = wanted
            .jumps
            .iter()
            .filter(|jump| exists(jump.table, jump.from, &jump.rule))
            .cloned()
            .collect();
        RuleSet { chains, jumps }
    }
}

/// Reads the text of iptables-save, or of iptables-restore input without deletions.
///
/// Tables we do not use are skipped. A rule we would never write becomes one whose only match is
/// [`Match::Foreign`] with its words; so nothing in a foreign table can make this fail.
pub fn parse_saved(text: &str, family: IpFamily) -> LiveTables {
    let mut live = LiveTables::default();
    let mut table = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = Table::ALL.into_iter().find(|table| table.name() == name.trim());
            continue;
        }
        let Some(table) = table else { continue };
        if let Some(rest) = line.strip_prefix(':') {
            let name = rest.split_whitespace().next().unwrap_or_default();
            live.chains.entry(ChainKey::new(table, name)).or_default();
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let (name, words) = rest.split_once(' ').unwrap_or((rest, ""));
            let rule = Arc::new(parse_rule(words, family));
            live.chains.entry(ChainKey::new(table, name)).or_default().push(rule);
        }
    }
    live
}

/// Reads what follows `-A CHAIN`.
pub fn parse_rule(words: &str, family: IpFamily) -> Rule {
    let known = split_words(words).and_then(|words| {
        let mut reader = Reader { words: words.into_iter(), family, rule: Rule::default() };
        reader.read().map(|()| reader.rule)
    });
    known.unwrap_or_else(|| Rule {
        matches: vec![Match::Foreign(Arc::from(words.trim()))],
        ..Rule::default()
    })
}

/// Splits at blanks outside double quotes and takes the quotes away. Nothing when a quote is left
/// open.
fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().push(letters.next()?),
            letter if letter.is_whitespace() && !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

/// Reads the words of one rule. Every method gives nothing on words we would not write.
struct Reader {
    words: std::vec::IntoIter<String>,
    family: IpFamily,
    rule: Rule,
}

impl Reader {
    fn read(&mut self) -> Option<()> {
        while let Some(word) = self.words.next() {
            let negated = word == "!";
            let option = if negated { self.words.next()? } else { word };
            self.option(&option, negated)?;
        }
        Some(())
    }

    fn option(&mut self, option: &str, negated: bool) -> Option<()> {
        match option {
            "-s" => self.rule.source = Some(self.address(negated)?),
            "-d" => self.rule.destination = Some(self.address(negated)?),
            "-i" => {
                self.rule.in_interface =
                    Some(Interface { negated, name: self.words.next()?.into() });
            }
            "--ctstate" => {
                let states = self.conn_states()?;
                self.rule.matches.push(Match::ConnState { negated, states });
            }
            "--mark" => {
                let (value, mask) = self.masked()?;
                self.rule.matches.push(Match::Mark { negated, value, mask });
            }
            // Nothing else of ours is ever negated.
            _ if negated => return None,
            "-p" => self.rule.protocol = Some(Protocol::from_name(&self.words.next()?)?),
            "-m" => self.module()?,
            "-j" => {
                self.rule.target = Some(self.target()?);
                return self.words.as_slice().is_empty().then_some(());
            }
            other => self.module_option(other)?,
        }
        Some(())
    }

    /// The name of a match module; those with a single option are told by that option.
    fn module(&mut self) -> Option<()> {
        let name = self.words.next()?;
        match name.as_str() {
            "comment" | "conntrack" | "mark" | "addrtype" | "statistic" | "nfacct" => Some(()),
            "recent" => {
                let part = self.recent()?;
                self.rule.matches.push(part);
                Some(())
            }
            name => {
                let protocol = Protocol::from_name(name)?;
                self.rule.matches.push(Match::Transport { protocol, destination_port: None });
                Some(())
            }
        }
    }

    fn module_option(&mut self, option: &str) -> Option<()> {
        let value = self.words.next()?;
        let part = match option {
            "--comment" => Match::Comment(value.into()),
            "--nfacct-name" => Match::Accounting { name: value.into() },
            "--dport" => {
                let Some(Match::Transport { destination_port, .. }) = self.rule.matches.last_mut()
                else {
                    return None;
                };
                *destination_port = Some(value.parse().ok()?);
                return Some(());
            }
            "--src-type" if value == "LOCAL" => Match::LocalAddress(Side::Source),
            "--dst-type" if value == "LOCAL" => Match::LocalAddress(Side::Destination),
            "--mode" if value == "random" => return Some(()),
            "--probability" => Match::Random(Probability::from_share(value.parse().ok()?)),
            _ => return None,
        };
        self.rule.matches.push(part);
        Some(())
    }

    /// The options of the recent module, up to the next module or target.
    fn recent(&mut self) -> Option<Match> {
        let (mut set, mut reap) = (None, false);
        let (mut list, mut seconds) = (None, None);
        while let Some(option) = self.words.as_slice().first().cloned() {
            if matches!(option.as_str(), "-m" | "-j" | "!") {
                break;
            }
            self.words.next();
            match option.as_str() {
                "--rcheck" => set = Some(false),
                "--set" => set = Some(true),
                "--reap" => reap = true,
                "--rsource" => {}
                "--seconds" => seconds = Some(self.words.next()?.parse().ok()?),
                "--name" => list = Some(Arc::from(self.words.next()?)),
                "--mask" => {
                    let host = super::render::host_mask(self.family);
                    (self.words.next()? == host).then_some(())?;
                }
                _ => return None,
            }
        }
        match (set?, seconds, reap) {
            (true, None, false) => Some(Match::RememberClient { list: list? }),
            (false, Some(seconds), true) => Some(Match::RecentlySeen { list: list?, seconds }),
            _ => None,
        }
    }

    fn target(&mut self) -> Option<Target> {
        let name = self.words.next()?;
        Some(match name.as_str() {
            "RETURN" => Target::Return,
            "ACCEPT" => Target::Accept,
            "DROP" => Target::Drop,
            "REJECT" => {
                if let Some(option) = self.words.next() {
                    let with = self.words.next()?;
                    (option == "--reject-with" && with == reject_with(self.family)).then_some(())?;
                }
                Target::Reject
            }
            "MARK" => self.set_mark()?,
            "MASQUERADE" => match self.words.next().as_deref() {
                None => Target::Masquerade { random_fully: false },
                Some("--random-fully") => Target::Masquerade { random_fully: true },
                Some(_) => return None,
            },
            "DNAT" => {
                (self.words.next()? == "--to-destination").then_some(())?;
                Target::Dnat(self.words.next()?.parse::<SocketAddr>().ok()?)
            }
            _ => Target::Jump(name.into()),
        })
    }

    fn set_mark(&mut self) -> Option<Target> {
        match self.words.next()?.as_str() {
            "--set-xmark" => {
                let (value, mask) = self.masked()?;
                Some(Target::SetXmark { value, mask })
            }
            "--or-mark" => {
                let value = number(&self.words.next()?)?;
                Some(Target::SetXmark { value, mask: value })
            }
            "--xor-mark" => {
                let value = number(&self.words.next()?)?;
                Some(Target::SetXmark { value, mask: 0 })
            }
            _ => None,
        }
    }

    fn address(&mut self, negated: bool) -> Option<Address> {
        let word = self.words.next()?;
        let net = parse_cidr(&word).or_else(|| parse_ip(&word).map(IpNet::from))?;
        Some(Address { negated, net })
    }

    fn conn_states(&mut self) -> Option<ConnStates> {
        self.words
            .next()?
            .split(',')
            .try_fold(ConnStates::default(), |all, name| Some(all.or(ConnStates::from_name(name)?)))
    }

    /// `value/mask`, or a value with a full mask.
    fn masked(&mut self) -> Option<(u32, u32)> {
        let word = self.words.next()?;
        match word.split_once('/') {
            Some((value, mask)) => Some((number(value)?, number(mask)?)),
            None => Some((number(&word)?, u32::MAX)),
        }
    }
}

/// A decimal number, or a hexadecimal one after `0x`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests;

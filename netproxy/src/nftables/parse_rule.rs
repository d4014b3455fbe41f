//! Pure. Reads one rule back from what nft prints.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::render::family_name;
use super::render_rule::HASHED_SOURCE;
use super::rule::{Field, Rule, Side, Statement};
use super::state::SetName;
use crate::config::IpFamily;
use crate::input::Protocol;

/// The rule; nothing when it is none of those that we write.
pub fn parse_rule(line: &str, family: IpFamily) -> Option<Rule> {
    let (body, comment) = match line.split_once(" comment \"") {
        Some((body, comment)) => (body, Some(Arc::from(comment.strip_suffix('"')?))),
        None => (line, None),
    };
    let rest = body.split_whitespace().collect();
    let mut words = Words { rest, ip: family_name(family), family };
    words.rest.reverse();
    let mut statements = Vec::new();
    while !words.rest.is_empty() {
        statements.push(words.statement()?);
    }
    Some(Rule { statements, comment })
}

/// The words of a rule that are not read yet, last one first.
struct Words<'t> {
    rest: Vec<&'t str>,
    ip: &'static str,
    family: IpFamily,
}

impl<'t> Words<'t> {
    /// Takes these words if they come next.
    fn take(&mut self, words: &[&str]) -> bool {
        let next = self.rest.iter().rev();
        let comes = self.rest.len() >= words.len() && next.zip(words).all(|(a, b)| a == b);
        if comes {
            self.rest.truncate(self.rest.len() - words.len());
        }
        comes
    }

    fn word(&mut self) -> Option<&'t str> {
        self.rest.pop()
    }

    fn statement(&mut self) -> Option<Statement> {
        let simple = [
            (&["ct", "state", "new"][..], Statement::NewConnection),
            (&["ct", "status", "dnat"], Statement::Translated),
            (&["meta", "priority", "&", "8000:0", "!=", "none"], Statement::Classified),
            (&["meta", "priority", "set", "none"], Statement::Unclassify),
            (
                &["meta", "priority", "set", "meta", "priority", "&", "ffff:0"],
                Statement::ClassOfService,
            ),
            (&["masquerade", "fully-random"], Statement::Masquerade),
            (&["return"], Statement::Return),
            (&["drop"], Statement::Drop),
            (&["reject"], Statement::Reject),
        ];
        for (words, statement) in simple {
            if self.take(words) {
                return Some(statement);
            }
        }
        if self.take(&["jump"]) {
            return self.word().map(|chain| Statement::Jump(chain.into()));
        }
        if self.take(&["goto"]) {
            return self.word().map(|chain| Statement::Goto(chain.into()));
        }
        if self.take(&["fib"]) {
            let side = self.side()?;
            return self.take(&["type", "local"]).then_some(Statement::LocalAddress(side));
        }
        if self.take(&["iifname"]) {
            let negated = self.take(&["!="]);
            let name = self.word()?.strip_prefix('"')?.strip_suffix('"')?;
            return Some(Statement::Interface { negated, name: name.into() });
        }
        self.mark().or_else(|| self.memory()).or_else(|| self.lookup())
    }

    fn mark(&mut self) -> Option<Statement> {
        if self.take(&["meta", "mark", "&"]) {
            let bits = hexadecimal(self.word()?)?;
            let is_set = self.take(&["!="]) && hexadecimal(self.word()?)? == 0;
            return is_set.then_some(Statement::Marked(bits));
        }
        if self.take(&["meta", "mark", "set", "meta", "mark", "|"]) {
            return hexadecimal(self.word()?).map(Statement::SetMark);
        }
        if self.take(&["meta", "mark", "set", "meta", "mark", "^"]) {
            return hexadecimal(self.word()?).map(Statement::FlipMark);
        }
        None
    }

    /// Statements about remembered clients.
    fn memory(&mut self) -> Option<Statement> {
        let source: Vec<&str> = match self.family {
            IpFamily::V4 => vec!["ip", "saddr"],
            IpFamily::V6 => HASHED_SOURCE.split(' ').collect(),
        };
        let class = [".", "meta", "priority", "&", "ffff:0"];
        let client = [&["{"], source.as_slice(), &class].concat();
        let end = [":", "meta", "priority", "}"];
        if self.take(&["update", "@affinity"]) {
            let seconds = (self.take(&client) && self.take(&["timeout"]))
                .then(|| self.word().and_then(seconds))??;
            return self.take(&end).then_some(Statement::Remember { seconds });
        }
        if self.take(&["delete", "@affinity"]) {
            return (self.take(&client) && self.take(&end)).then_some(Statement::Forget);
        }
        None
    }

    /// Everything with a key, and comparisons of addresses and the protocol.
    fn lookup(&mut self) -> Option<Statement> {
        if self.take(&["meta", "priority", "set"]) {
            let (key, map) = self.keyed_map("map")?;
            return Some(Statement::Classify { key, map });
        }
        if self.take(&["dnat", self.ip, "to"]) {
            let (key, map) = self.keyed_map("map")?;
            return Some(Statement::Dnat { key, map });
        }
        let first = self.field()?;
        if let (Field::Address(side), false) = (first, self.continues()) {
            let negated = self.take(&["!="]);
            return Some(Statement::Address { side, negated, net: network(self.word()?)? });
        }
        if let (Field::Protocol, false) = (first, self.continues()) {
            return Protocol::from_name(self.word()?).map(Statement::Protocol);
        }
        let key = self.key(first)?;
        if self.take(&["vmap"]) {
            return Some(Statement::VerdictMap { key, map: self.set()? });
        }
        Some(Statement::Member { key, set: self.set()? })
    }

    /// Whether what follows makes a key of what came.
    fn continues(&self) -> bool {
        self.rest.last().is_some_and(|word| *word == "." || *word == "vmap" || is_set(word))
    }

    fn keyed_map(&mut self, word: &str) -> Option<(Vec<Field>, SetName)> {
        let first = self.field()?;
        let key = self.key(first)?;
        Some((key, self.take(&[word]).then(|| self.set())??))
    }

    fn key(&mut self, first: Field) -> Option<Vec<Field>> {
        let mut key = vec![first];
        while self.take(&["."]) {
            key.push(self.field()?);
        }
        Some(key)
    }

    fn field(&mut self) -> Option<Field> {
        if self.take(&[self.ip]) {
            return self.side().map(Field::Address);
        }
        if self.take(&["meta", "l4proto"]) {
            return Some(Field::Protocol);
        }
        if self.take(&["meta", "priority"]) {
            return Some(Field::Priority);
        }
        if self.take(&HASHED_SOURCE.split(' ').collect::<Vec<_>>()) {
            return Some(Field::HashedSource);
        }
        if self.take(&["th", "dport"]) {
            return Some(Field::Port);
        }
        if self.take(&["numgen", "random", "mod"]) {
            return self.word()?.parse().ok().map(Field::Random);
        }
        let protocol = Protocol::from_name(self.word()?)?;
        self.take(&["dport"]).then_some(Field::PortOf(protocol))
    }

    fn side(&mut self) -> Option<Side> {
        match self.word()? {
            "saddr" => Some(Side::Source),
            "daddr" => Some(Side::Destination),
            _ => None,
        }
    }

    fn set(&mut self) -> Option<SetName> {
        SetName::from_name(self.word()?.strip_prefix('@')?)
    }
}

fn is_set(word: &str) -> bool {
    word.starts_with('@')
}

fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        // Bits of the host say nothing, and nft prints none.
        Err(_) => text.parse().ok().map(|net: IpNet| net.trunc()),
    }
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Seconds in a time such as `1d2h3m4s`.
fn seconds(text: &str) -> Option<u32> {
    let mut total = 0_u32;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (amount, tail) = rest.split_at_checked(end)?;
        let (unit, tail) = tail.split_at_checked(1)?;
        let unit = match unit {
            "d" => 86_400,
            "h" => 3_600,
            "m" => 60,
            "s" => 1,
            _ => return None,
        };
        total = total.checked_add(amount.parse::<u32>().ok()?.checked_mul(unit)?)?;
        rest = tail;
    }
    Some(total)
}

#[cfg(test)]
mod tests;

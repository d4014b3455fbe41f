//! Pure. Reads a table back from what `nft -y list table` prints.
//!
//! Text, because the JSON of nft 1.0 leaves out parts of our rules. Whatever we do not write
//! ourselves makes the table foreign: one of kube-proxy, or one that somebody changed by hand.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use super::parse_rule::parse_rule;
use super::render::{family_name, set_type};
use super::state::{
    Chain, ChainKind, Class, Entry, Front, Hook, HookPoint, Key, NftState, SetName, TABLE, Value,
};
use crate::config::IpFamily;
use crate::input::Protocol;

/// A table with our name that does not have our layout; to be replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table {TABLE} has another layout: {found:?}")]
pub struct ForeignTable {
    /// What does not belong there, or what is missing.
    pub found: Arc<str>,
}

impl ForeignTable {
    fn new(found: &str) -> Self {
        Self { found: found.trim().into() }
    }
}

/// The table in a listing. What the kernel fills itself is left out.
pub fn parse_table(text: &str, family: IpFamily) -> Result<NftState, ForeignTable> {
    let mut reader = Reader { lines: text.lines(), family, state: NftState::empty(family) };
    let head = format!("table {} {TABLE} {{", family_name(family));
    let mut declared = Vec::new();
    let mut inside = false;
    while let Some(line) = reader.next_line() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            _ if !inside && line == head => inside = true,
            ["comment", ..] if inside => {}
            ["set" | "map", name, "{"] if inside => declared.push(reader.set(name)?),
            ["chain", name, "{"] if inside => reader.chain(name)?,
            ["}"] if inside => inside = false,
            _ => return Err(ForeignTable::new(line)),
        }
    }
    match SetName::ALL.into_iter().find(|set| !declared.contains(set)) {
        Some(missing) => Err(ForeignTable::new(&format!("no {missing}"))),
        None => Ok(reader.state),
    }
}

struct Reader<'t> {
    lines: std::str::Lines<'t>,
    family: IpFamily,
    state: NftState,
}

impl<'t> Reader<'t> {
    /// The next line that is not empty, without the space around it.
    fn next_line(&mut self) -> Option<&'t str> {
        self.lines.by_ref().map(str::trim).find(|line| !line.is_empty())
    }

    fn set(&mut self, name: &str) -> Result<SetName, ForeignTable> {
        let set = SetName::from_name(name).ok_or_else(|| ForeignTable::new(name))?;
        let expected = set_type(set, self.family);
        let mut typed = false;
        while let Some(line) = self.next_line() {
            if line == "}" {
                break;
            } else if line == expected {
                typed = true;
            } else if let Some(first) = line.strip_prefix("elements = {") {
                self.elements(set, first)?;
            } else if !["comment ", "size ", "flags "].iter().any(|word| line.starts_with(word)) {
                return Err(ForeignTable::new(line));
            }
        }
        if typed { Ok(set) } else { Err(ForeignTable::new(&format!("type of {set}"))) }
    }

    fn elements(&mut self, set: SetName, first: &'t str) -> Result<(), ForeignTable> {
        let mut line = first.trim();
        loop {
            let last = line.ends_with('}');
            let elements = line.strip_suffix('}').unwrap_or(line);
            if !set.is_dynamic() {
                for element in elements.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                    let (key, entry) =
                        element_of(set, element).ok_or_else(|| ForeignTable::new(element))?;
                    self.state.sets.entry(set).or_default().insert(key, entry);
                }
            }
            if last {
                return Ok(());
            }
            line = self.next_line().ok_or_else(|| ForeignTable::new("end of the listing"))?;
        }
    }

    fn chain(&mut self, name: &str) -> Result<(), ForeignTable> {
        let mut chain = Chain::default();
        while let Some(line) = self.next_line() {
            if line == "}" {
                break;
            }
            if line.starts_with("type ") {
                chain.hook = Some(hook_of(line).ok_or_else(|| ForeignTable::new(line))?);
            } else if !line.starts_with("comment ") {
                let rule = parse_rule(line, self.family);
                chain.rules.push(rule.ok_or_else(|| ForeignTable::new(line))?);
            }
        }
        self.state.chains.insert(name.into(), chain);
        Ok(())
    }
}

/// `type nat hook prerouting priority -100; policy accept;`
fn hook_of(line: &str) -> Option<Hook> {
    let words: Vec<&str> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
    let ["type", kind, "hook", point, "priority", priority, "policy", "accept"] = words.as_slice()
    else {
        return None;
    };
    let kind = [ChainKind::Filter, ChainKind::Nat].into_iter().find(|k| k.name() == *kind)?;
    let point = HookPoint::ALL.into_iter().find(|p| p.name() == *point)?;
    Some(Hook { kind, point, priority: priority.parse().ok()? })
}

fn element_of(set: SetName, text: &str) -> Option<(Key, Entry)> {
    let (head, value) = match text.split_once(" : ") {
        Some((head, value)) => (head, Some(value)),
        None => (text, None),
    };
    let (key, comment) = match head.split_once(" comment \"") {
        Some((key, comment)) => (key, Some(comment.strip_suffix('"')?.into())),
        None => (head, None),
    };
    let entry = Entry { value: value_of(set, value)?, comment };
    Some((key_of(set, key)?, entry))
}

fn key_of(set: SetName, text: &str) -> Option<Key> {
    let parts: Vec<&str> = text.split(" . ").collect();
    Some(match (set, parts.as_slice()) {
        (SetName::ClusterIps | SetName::NodePortIps, [address]) => Key::Address(parsed(address)?),
        (SetName::HairpinConnections, [address, same]) if address == same => {
            Key::Hairpin(parsed(address)?)
        }
        (
            SetName::FirewallIps
            | SetName::NoEndpointServices
            | SetName::ServiceIps
            | SetName::ShortCircuitServices
            | SetName::LocalServices
            | SetName::AffinityServices,
            [address, protocol, port],
        ) => Key::Front(front(address, protocol, port)?),
        (
            SetName::NoEndpointNodePorts
            | SetName::ServiceNodePorts
            | SetName::ShortCircuitNodePorts
            | SetName::LocalNodePorts
            | SetName::AffinityNodePorts,
            [protocol, port],
        ) => Key::NodePort(Protocol::from_name(protocol)?, parsed(port)?),
        (
            SetName::Endpoints(protocol) | SetName::LocalEndpoints(protocol),
            [address, port, index],
        ) => Key::Nth(
            Front { address: parsed(address)?, protocol, port: parsed(port)? },
            parsed(index)?,
        ),
        (
            SetName::NodePortEndpoints(protocol) | SetName::LocalNodePortEndpoints(protocol),
            [port, index],
        ) => Key::NodePortNth(protocol, parsed(port)?, parsed(index)?),
        (SetName::AffinityChoices | SetName::LocalAffinityChoices, [class, index]) => {
            Key::ClassNth(class_of(class)?, parsed(index)?)
        }
        (SetName::AffinityEndpoints | SetName::LocalAffinityEndpoints, [class]) => {
            Key::Class(class_of(class)?)
        }
        _ => return None,
    })
}

fn value_of(set: SetName, text: Option<&str>) -> Option<Value> {
    let Some(text) = text else {
        return (!super::render::has_values(set)).then_some(Value::Member);
    };
    if text == "drop" {
        return Some(Value::Drop);
    }
    if let Some(chain) = text.strip_prefix("goto ") {
        return Some(Value::Goto(chain.into()));
    }
    match text.split_once(" . ") {
        Some((address, port)) => Some(Value::Target(parsed(address)?, parsed(port)?)),
        None => class_of(text).map(Value::Class),
    }
}

fn front(address: &str, protocol: &str, port: &str) -> Option<Front> {
    Some(Front {
        address: parsed::<IpAddr>(address)?,
        protocol: Protocol::from_name(protocol)?,
        port: parsed(port)?,
    })
}

fn class_of(text: &str) -> Option<Class> {
    let (service, endpoint) = text.split_once(':')?;
    let number = |text| u16::from_str_radix(text, 16).ok();
    Some(Class { service: number(service)?, endpoint: number(endpoint)? })
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

#[cfg(test)]
mod tests;

//! Pure. One rule as nft prints it.

use std::fmt;

use super::render::family_name;
use super::rule::{Field, Rule, Side, Statement};
use super::state::{Class, SetName};
use crate::config::IpFamily;

/// The source of an IPv6 packet as a number. The seed is fixed, so that remembered clients outlive
/// a change of rules.
pub(super) const HASHED_SOURCE: &str = "jhash ip6 saddr mod 4294967295 seed 0x6b70";

/// A rule of a table of this family as nft prints it.
#[derive(Clone, Copy, Debug)]
pub struct RuleText<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Family of the table.
    pub family: IpFamily,
}

impl fmt::Display for RuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, statement) in self.rule.statements.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            write_statement(f, statement, family_name(self.family))?;
        }
        match &self.rule.comment {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

fn write_statement(
    f: &mut fmt::Formatter<'_>,
    statement: &Statement,
    ip: &'static str,
) -> fmt::Result {
    let fields = |key| Fields { key, ip };
    let service = Class { service: 0xffff, endpoint: 0 };
    match statement {
        Statement::NewConnection => f.write_str("ct state new"),
        Statement::Translated => f.write_str("ct status dnat"),
        Statement::Address { side, negated, net } => {
            let not = if *negated { "!= " } else { "" };
            write!(f, "{ip} {} {not}", side_name(*side))?;
            if net.prefix_len() == net.max_prefix_len() {
                write!(f, "{}", net.addr())
            } else {
                write!(f, "{}", net.trunc())
            }
        }
        Statement::LocalAddress(side) => write!(f, "fib {} type local", side_name(*side)),
        Statement::Interface { negated, name } => {
            let not = if *negated { "!= " } else { "" };
            write!(f, "iifname {not}\"{name}\"")
        }
        Statement::Protocol(protocol) => write!(f, "meta l4proto {}", protocol.name()),
        Statement::Marked(bits) => write!(f, "meta mark & 0x{bits:08x} != 0x00000000"),
        Statement::SetMark(bits) => write!(f, "meta mark set meta mark | 0x{bits:08x}"),
        Statement::FlipMark(bits) => write!(f, "meta mark set meta mark ^ 0x{bits:08x}"),
        Statement::Member { key, set } => write!(f, "{} @{set}", fields(key)),
        Statement::VerdictMap { key, map } => write!(f, "{} vmap @{map}", fields(key)),
        Statement::Dnat { key, map } => write!(f, "dnat {ip} to {} map @{map}", fields(key)),
        Statement::Classified => {
            let bit = Class { service: 0x8000, endpoint: 0 };
            write!(f, "meta priority & {bit} != none")
        }
        Statement::Classify { key, map } => {
            write!(f, "meta priority set {} map @{map}", fields(key))
        }
        Statement::ClassOfService => write!(f, "meta priority set meta priority & {service}"),
        Statement::Unclassify => f.write_str("meta priority set none"),
        Statement::Remember { seconds } => {
            let map = SetName::Affinity;
            write!(
                f,
                "update @{map} {{ {} . meta priority & {service} timeout {}",
                client(ip),
                Span(*seconds)
            )?;
            f.write_str(" : meta priority }")
        }
        Statement::Forget => {
            let map = SetName::Affinity;
            write!(f, "delete @{map} {{ {} . meta priority & {service}", client(ip))?;
            f.write_str(" : meta priority }")
        }
        Statement::Masquerade => f.write_str("masquerade fully-random"),
        Statement::Jump(chain) => write!(f, "jump {chain}"),
        Statement::Goto(chain) => write!(f, "goto {chain}"),
        Statement::Return => f.write_str("return"),
        Statement::Drop => f.write_str("drop"),
        Statement::Reject => f.write_str("reject"),
    }
}

/// The client in the keys of remembered ones.
fn client(ip: &str) -> &'static str {
    if ip == family_name(IpFamily::V4) { "ip saddr" } else { HASHED_SOURCE }
}

const fn side_name(side: Side) -> &'static str {
    match side {
        Side::Source => "saddr",
        Side::Destination => "daddr",
    }
}

struct Fields<'a> {
    key: &'a [Field],
    ip: &'static str,
}

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, field) in self.key.iter().enumerate() {
            if position > 0 {
                f.write_str(" . ")?;
            }
            match field {
                Field::Address(side) => write!(f, "{} {}", self.ip, side_name(*side))?,
                Field::Protocol => f.write_str("meta l4proto")?,
                Field::Port => f.write_str("th dport")?,
                Field::PortOf(protocol) => write!(f, "{} dport", protocol.name())?,
                Field::Random(count) => write!(f, "numgen random mod {count}")?,
                Field::Priority => f.write_str("meta priority")?,
                Field::HashedSource => f.write_str(HASHED_SOURCE)?,
            }
        }
        Ok(())
    }
}

/// Seconds as nft prints them: days, hours, minutes and seconds without those that are 0.
struct Span(u32);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.0 / 86_400, 'd'),
            (self.0 % 86_400 / 3_600, 'h'),
            (self.0 % 3_600 / 60, 'm'),
            (self.0 % 60, 's'),
        ];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        parts
            .iter()
            .filter(|(amount, _)| *amount > 0)
            .try_for_each(|(amount, unit)| write!(f, "{amount}{unit}"))
    }
}

#[cfg(test)]
mod tests;

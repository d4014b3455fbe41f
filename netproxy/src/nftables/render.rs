//! Pure. Tables and their changes as text for `nft -f -`.
//!
//! Rules are written as nft prints them, so that what it lists can be read back.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use super::diff::{ElementChange, NftDiff};
use super::render_rule::RuleText;
use super::state::{Chain, ChainName, Entry, Key, NftState, SetName, TABLE, TABLE_COMMENT, Value};
use crate::config::IpFamily;

/// Elements in one statement; more make no difference to the time nft takes.
const ELEMENTS_PER_STATEMENT: usize = 1000;
/// How many clients of services with affinity are remembered; some 200 MB of kernel memory if
/// there ever were so many.
const AFFINITY_SIZE: u32 = 1 << 20;

/// A transaction, and what is left to clean up after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Input of one `nft -f -`, and so one transaction; empty when there is nothing to change.
    pub text: String,
    /// Chains that are empty now and to be deleted in a later transaction: before Linux 6.2 the
    /// kernel refuses it in the one that deletes the elements leading to them.
    pub stale_chains: BTreeSet<ChainName>,
}

/// The word of nft for the family of the table.
pub const fn family_name(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "ip",
        IpFamily::V6 => "ip6",
    }
}

/// The transaction that makes a diff real.
pub fn render_diff(changes: &NftDiff, family: IpFamily) -> Batch {
    let mut writer = Writer::new(family);
    let elements = &changes.elements;
    let gone = elements.iter().filter(|(_, change)| !matches!(change, ElementChange::Added(_)));
    writer.elements("delete", gone.map(|((set, key), _)| (*set, *key, None)));
    for (name, chain) in &changes.chains {
        writer.declare_chain(name, chain);
        writer.line("flush chain", format_args!(" {name}"));
    }
    for name in &changes.gone_chains {
        writer.line("flush chain", format_args!(" {name}"));
    }
    for (name, chain) in &changes.chains {
        writer.rules(name, chain);
    }
    let added = elements
        .iter()
        .filter_map(|((set, key), change)| change.entry().map(|entry| (*set, *key, Some(entry))));
    writer.elements("add", added);
    Batch { text: writer.text, stale_chains: changes.gone_chains.clone() }
}

/// The transaction that deletes empty chains.
pub fn render_stale_chains<'a>(
    chains: impl IntoIterator<Item = &'a ChainName>,
    family: IpFamily,
) -> String {
    let mut writer = Writer::new(family);
    for name in chains {
        writer.line("delete chain", format_args!(" {name}"));
    }
    writer.text
}

/// The transaction that puts this table in place of whatever has its name. What the kernel
/// remembers of clients is lost with it.
pub fn render_full(state: &NftState) -> String {
    let mut writer = Writer::new(state.family);
    // Adding comes first because deleting what is not there fails.
    writer.line("add table", format_args!(""));
    writer.line("delete table", format_args!(""));
    writer.line("add table", format_args!(" {{ comment \"{TABLE_COMMENT}\" ; }}"));
    for set in SetName::ALL {
        let kind = if has_values(set) { "add map" } else { "add set" };
        let declaration = declaration(set, state.family);
        writer.line(kind, format_args!(" {set} {{ {declaration} }}"));
    }
    for (name, chain) in &state.chains {
        writer.declare_chain(name, chain);
    }
    for (name, chain) in &state.chains {
        writer.rules(name, chain);
    }
    let elements = state
        .sets
        .iter()
        .flat_map(|(set, elements)| elements.iter().map(|(key, entry)| (*set, *key, Some(entry))));
    writer.elements("add", elements.filter(|(set, ..)| !set.is_dynamic()));
    writer.text
}

/// The transaction that removes the table.
pub fn render_removal(family: IpFamily) -> String {
    let table = format!("{} {TABLE}", family_name(family));
    format!("add table {table}\ndelete table {table}\n")
}

struct Writer {
    family: IpFamily,
    /// Family and name.
    table: String,
    text: String,
}

impl Writer {
    fn new(family: IpFamily) -> Self {
        let table = format!("{} {TABLE}", family_name(family));
        Self { family, table, text: String::new() }
    }

    /// A line: a command, the table, and the rest.
    fn line(&mut self, command: &str, rest: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{command} {}{rest}", self.table);
    }

    fn declare_chain(&mut self, name: &str, chain: &Chain) {
        let hook = chain.hook.map(|hook| {
            let (kind, point, priority) = (hook.kind.name(), hook.point.name(), hook.priority);
            format!(" {{ type {kind} hook {point} priority {priority} ; }}")
        });
        let hook = hook.unwrap_or_default();
        self.line("add chain", format_args!(" {name}{hook}"));
    }

    fn rules(&mut self, name: &str, chain: &Chain) {
        for rule in &chain.rules {
            let rule = RuleText { rule, family: self.family };
            self.line("add rule", format_args!(" {name} {rule}"));
        }
    }

    /// Statements about elements, which have to come set by set.
    fn elements<'a>(
        &mut self,
        verb: &str,
        elements: impl Iterator<Item = (SetName, Key, Option<&'a Entry>)>,
    ) {
        let mut open: Option<(SetName, usize)> = None;
        for (set, key, entry) in elements {
            match open {
                Some((same, count)) if same == set && count < ELEMENTS_PER_STATEMENT => {
                    self.text.push_str(", ");
                    open = Some((set, count + 1));
                }
                _ => {
                    if open.is_some() {
                        self.text.push_str(" }\n");
                    }
                    let _ = write!(self.text, "{verb} element {} {set} {{ ", self.table);
                    open = Some((set, 1));
                }
            }
            let _ = write!(self.text, "{}", ElementText { key, entry });
        }
        if open.is_some() {
            self.text.push_str(" }\n");
        }
    }
}

/// Whether it is a map.
pub(super) fn has_values(set: SetName) -> bool {
    !matches!(set, SetName::ClusterIps | SetName::NodePortIps | SetName::HairpinConnections)
}

/// The type of a set as nft prints it.
pub(super) fn set_type(set: SetName, family: IpFamily) -> String {
    let address = match family {
        IpFamily::V4 => "ipv4_addr",
        IpFamily::V6 => "ipv6_addr",
    };
    let ip = family_name(family);
    let front = format!("{address} . inet_proto . inet_service");
    match set {
        SetName::ClusterIps | SetName::NodePortIps => format!("type {address}"),
        SetName::HairpinConnections => format!("type {address} . {address}"),
        SetName::FirewallIps
        | SetName::NoEndpointServices
        | SetName::ServiceIps
        | SetName::ShortCircuitServices
        | SetName::LocalServices => format!("type {front} : verdict"),
        SetName::NoEndpointNodePorts
        | SetName::ServiceNodePorts
        | SetName::ShortCircuitNodePorts
        | SetName::LocalNodePorts => "type inet_proto . inet_service : verdict".to_owned(),
        // There is no name for the type of a random number.
        SetName::Endpoints(protocol) | SetName::LocalEndpoints(protocol) => {
            let port = format!("{} dport", protocol.name());
            format!("typeof {ip} daddr . {port} . numgen random mod 2 : {ip} daddr . {port}")
        }
        SetName::NodePortEndpoints(protocol) | SetName::LocalNodePortEndpoints(protocol) => {
            let port = format!("{} dport", protocol.name());
            format!("typeof {port} . numgen random mod 2 : {ip} daddr . {port}")
        }
        SetName::AffinityServices => format!("type {front} : classid"),
        SetName::AffinityNodePorts => "type inet_proto . inet_service : classid".to_owned(),
        SetName::AffinityChoices | SetName::LocalAffinityChoices => {
            "typeof meta priority . numgen random mod 2 : meta priority".to_owned()
        }
        SetName::AffinityEndpoints | SetName::LocalAffinityEndpoints => {
            format!("type classid : {address} . inet_service")
        }
        SetName::Affinity => match family {
            IpFamily::V4 => "type ipv4_addr . classid : classid".to_owned(),
            IpFamily::V6 => "typeof numgen random mod 2 . meta priority : meta priority".to_owned(),
        },
    }
}

/// What stands between the braces of a declaration.
fn declaration(set: SetName, family: IpFamily) -> String {
    let mut text = format!("{} ; ", set_type(set, family));
    if set.is_dynamic() {
        let _ = write!(text, "size {AFFINITY_SIZE} ; flags dynamic,timeout ; ");
    }
    let _ = write!(text, "comment \"{}\" ;", remark(set));
    text
}

fn remark(set: SetName) -> &'static str {
    match set {
        SetName::ClusterIps => "Active ClusterIPs",
        SetName::NodePortIps => "IPs that accept NodePort traffic",
        SetName::HairpinConnections => "service hairpin connections",
        SetName::FirewallIps => "destinations that are subject to LoadBalancerSourceRanges",
        SetName::NoEndpointServices => {
            "vmap to drop or reject packets to services with no endpoints"
        }
        SetName::NoEndpointNodePorts => {
            "vmap to drop or reject packets to service nodeports with no endpoints"
        }
        SetName::ServiceIps => "ClusterIP, ExternalIP and LoadBalancer IP traffic",
        SetName::ServiceNodePorts => "NodePort traffic",
        SetName::ShortCircuitServices => "policy Local: traffic from inside to external IPs",
        SetName::ShortCircuitNodePorts => "policy Local: traffic from inside to node ports",
        SetName::LocalServices => "policy Local: traffic from outside to external IPs",
        SetName::LocalNodePorts => "policy Local: traffic from outside to node ports",
        SetName::Endpoints(_) => "endpoints behind an IP, numbered",
        SetName::LocalEndpoints(_) => "endpoints of this node behind an IP, numbered",
        SetName::NodePortEndpoints(_) => "endpoints behind a node port, numbered",
        SetName::LocalNodePortEndpoints(_) => "endpoints of this node behind a node port, numbered",
        SetName::AffinityServices => "class of the service with session affinity behind an IP",
        SetName::AffinityNodePorts => {
            "class of the service with session affinity behind a node port"
        }
        SetName::AffinityChoices => "classes of the endpoints of a class, numbered",
        SetName::LocalAffinityChoices => "classes of the endpoints of this node, numbered",
        SetName::AffinityEndpoints => "endpoint of a class",
        SetName::LocalAffinityEndpoints => "endpoint of a class, if it is of this node",
        SetName::Affinity => "client and class of a service: class of its endpoint",
    }
}

struct ElementText<'a> {
    key: Key,
    /// Nothing for an element to delete.
    entry: Option<&'a Entry>,
}

impl fmt::Display for ElementText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, &self.key)?;
        let Some(entry) = self.entry else { return Ok(()) };
        if let Some(comment) = &entry.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        match &entry.value {
            Value::Member => Ok(()),
            Value::Drop => f.write_str(" : drop"),
            Value::Goto(chain) => write!(f, " : goto {chain}"),
            Value::Target(address, port) => write!(f, " : {address} . {port}"),
            Value::Class(class) => write!(f, " : {class}"),
        }
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, key: &Key) -> fmt::Result {
    match key {
        Key::Address(address) => write!(f, "{address}"),
        Key::Front(front) => {
            write!(f, "{} . {} . {}", front.address, front.protocol.name(), front.port)
        }
        Key::NodePort(protocol, port) => write!(f, "{} . {port}", protocol.name()),
        Key::Nth(front, index) => {
            write!(f, "{} . {} . {index}", front.address, front.port)
        }
        Key::NodePortNth(_, port, index) => write!(f, "{port} . {index}"),
        Key::Hairpin(address) => write!(f, "{address} . {address}"),
        Key::Class(class) => write!(f, "{class}"),
        Key::ClassNth(class, index) => write!(f, "{class} . {index}"),
    }
}

#[cfg(test)]
mod tests;

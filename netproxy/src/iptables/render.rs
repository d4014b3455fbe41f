//! Pure. Rules to text, in the spelling of iptables-save, which iptables-restore reads as well.

use std::collections::BTreeMap;
use std::fmt::Write;

use ipnet::IpNet;

use super::step::{Change, RestoreStep, RuleEdit, TablePart};
use crate::config::IpFamily;
use crate::rules::ruleset::{Address, Chain, ChainKey, Match, Rule, RuleSet, Side, Table, Target};

/// The input of `iptables-restore --noflush` that takes a step.
///
/// A chain line makes its chain or empties it; each part of the step is one table of the input,
/// which changes at once. Removed chains are emptied along with the others and deleted at the
/// end, when nothing of ours leads to them any more.
pub fn step_input(step: &RestoreStep, family: IpFamily) -> String {
    let mut text = String::new();
    for TablePart { table, changes } in &step.parts {
        push(&mut text, format_args!("*{table}\n"));
        for change in changes {
            if let Change::Write(name, _) | Change::Remove(name) = change {
                push(&mut text, format_args!(":{name} - [0:0]\n"));
            }
        }
        for change in changes {
            write_change(&mut text, change, family);
        }
        for change in changes {
            if let Change::Remove(name) = change {
                push(&mut text, format_args!("-X {name}\n"));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

fn write_change(text: &mut String, change: &Change, family: IpFamily) {
    let mut line = |start: std::fmt::Arguments<'_>, rule: &Rule| {
        push(text, start);
        write_rule(text, rule, family);
        text.push('\n');
    };
    match change {
        Change::Write(name, rules) => append_rules(text, name, rules, family),
        Change::Edit(name, guard, edits) => {
            // Fails where the chain has become shorter, and changes nothing where it has not.
            line(format_args!("-D {name}"), &guard.last);
            line(format_args!("-I {name} {}", guard.length), &guard.last);
            for edit in edits {
                match edit {
                    RuleEdit::Insert(place, rule) => line(format_args!("-I {name} {place}"), rule),
                    RuleEdit::Delete(rule) => line(format_args!("-D {name}"), rule),
                }
            }
        }
        Change::PutFirst(name, rule) => line(format_args!("-I {name} 1"), rule),
        Change::TakeOut(name, rule) => line(format_args!("-D {name}"), rule),
        Change::Remove(_) => {}
    }
}

/// A rule set as iptables-save would print it, if no jump was there before.
pub fn saved_text(rules: &RuleSet, family: IpFamily) -> String {
    let mut built_in: BTreeMap<(Table, &str), Vec<&Rule>> = BTreeMap::new();
    for jump in &rules.jumps {
        built_in.entry((jump.table, jump.from)).or_default().insert(0, &jump.rule);
    }
    let mut text = String::new();
    for table in Table::ALL {
        push(&mut text, format_args!("*{table}\n"));
        let chains: Vec<(&ChainKey, &Chain)> =
            rules.chains.iter().filter(|(key, _)| key.table == table).collect();
        let jumps: Vec<_> = built_in.iter().filter(|((of, _), _)| *of == table).collect();
        for ((_, name), _) in &jumps {
            push(&mut text, format_args!(":{name} ACCEPT [0:0]\n"));
        }
        for (key, _) in &chains {
            push(&mut text, format_args!(":{} - [0:0]\n", key.name));
        }
        for ((_, name), rules) in jumps {
            for rule in rules {
                push(&mut text, format_args!("-A {name}{}\n", rule_text(rule, family)));
            }
        }
        for (key, chain) in chains {
            append_rules(&mut text, &key.name, chain, family);
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// What follows `-A CHAIN` for a rule, with a blank before every word.
pub fn rule_text(rule: &Rule, family: IpFamily) -> String {
    let mut text = String::new();
    write_rule(&mut text, rule, family);
    text
}

fn append_rules(text: &mut String, name: &str, chain: &Chain, family: IpFamily) {
    for rule in chain.iter() {
        push(text, format_args!("-A {name}"));
        write_rule(text, rule, family);
        text.push('\n');
    }
}

/// Writing to a string cannot fail.
fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(part);
}

fn write_rule(text: &mut String, rule: &Rule, family: IpFamily) {
    let address = |text: &mut String, option: &str, address: &Option<Address>| {
        if let Some(Address { negated, net }) = address {
            push(text, format_args!("{} {option} {net}", not(*negated)));
        }
    };
    address(text, "-s", &rule.source);
    address(text, "-d", &rule.destination);
    if let Some(interface) = &rule.in_interface {
        push(text, format_args!("{} -i {}", not(interface.negated), interface.name));
    }
    if let Some(protocol) = rule.protocol {
        push(text, format_args!(" -p {protocol}"));
    }
    for part in &rule.matches {
        write_match(text, part, family);
    }
    if let Some(target) = &rule.target {
        write_target(text, target, family);
    }
}

fn write_match(text: &mut String, part: &Match, family: IpFamily) {
    match part {
        Match::Comment(comment) => {
            text.push_str(" -m comment --comment \"");
            for letter in comment.chars() {
                if matches!(letter, '"' | '\\' | '\'') {
                    text.push('\\');
                }
                // A line break would end the rule.
                text.push(if letter.is_control() { ' ' } else { letter });
            }
            text.push('"');
        }
        Match::Transport { protocol, destination_port } => {
            push(text, format_args!(" -m {protocol}"));
            if let Some(port) = destination_port {
                push(text, format_args!(" --dport {port}"));
            }
        }
        Match::ConnState { negated, states } => {
            push(text, format_args!(" -m conntrack{} --ctstate {states}", not(*negated)));
        }
        Match::Mark { negated, value, mask } => {
            push(text, format_args!(" -m mark{} --mark {value:#x}/{mask:#x}", not(*negated)));
        }
        Match::LocalAddress(side) => {
            let option = match side {
                Side::Source => "--src-type",
                Side::Destination => "--dst-type",
            };
            push(text, format_args!(" -m addrtype {option} LOCAL"));
        }
        Match::Random(probability) => {
            push(text, format_args!(" -m statistic --mode random --probability {probability}"))
        }
        Match::RecentlySeen { list, seconds } => push(
            text,
            format_args!(
                " -m recent --rcheck --seconds {seconds} --reap --name {list} --mask {} --rsource",
                host_mask(family)
            ),
        ),
        Match::RememberClient { list } => push(
            text,
            format_args!(" -m recent --set --name {list} --mask {} --rsource", host_mask(family)),
        ),
        Match::Accounting { name } => push(text, format_args!(" -m nfacct --nfacct-name {name}")),
        Match::Foreign(words) => push(text, format_args!(" {words}")),
    }
}

fn write_target(text: &mut String, target: &Target, family: IpFamily) {
    match target {
        Target::Jump(chain) => push(text, format_args!(" -j {chain}")),
        Target::Return => text.push_str(" -j RETURN"),
        Target::Accept => text.push_str(" -j ACCEPT"),
        Target::Drop => text.push_str(" -j DROP"),
        Target::Reject => {
            push(text, format_args!(" -j REJECT --reject-with {}", reject_with(family)));
        }
        Target::SetXmark { value, mask } => {
            push(text, format_args!(" -j MARK --set-xmark {value:#x}/{mask:#x}"));
        }
        Target::Masquerade { random_fully } => {
            text.push_str(" -j MASQUERADE");
            if *random_fully {
                text.push_str(" --random-fully");
            }
        }
        Target::Dnat(to) => push(text, format_args!(" -j DNAT --to-destination {to}")),
    }
}

const fn not(negated: bool) -> &'static str {
    if negated { " !" } else { "" }
}

/// How a port without listener is answered; what `-j REJECT` means by default.
pub(super) const fn reject_with(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "icmp-port-unreachable",
        IpFamily::V6 => "icmp6-port-unreachable",
    }
}

/// The mask of a single address, as the recent match prints it.
pub(super) fn host_mask(family: IpFamily) -> String {
    let net = family.everything();
    IpNet::new(net.addr(), net.max_prefix_len())
        .map_or_else(|_| String::new(), |net| net.netmask().to_string())
}

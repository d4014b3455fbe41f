//! Removes everything the proxy ever wrote.

use super::boundary::{Iptables, IptablesError};
use super::parse::{LiveTables, parse_saved};
use super::render::rule_text;
use crate::config::IpFamily;
use crate::rules::chains::is_owned;
use crate::rules::ruleset::{ChainKey, Match, Rule, Table, Target};

/// Removes our jumps and chains of one family; other rules, and the chain shared with the
/// kubelet, stay. Returns whether there was anything to remove.
pub async fn cleanup(iptables: &dyn Iptables, family: IpFamily) -> Result<bool, IptablesError> {
    let live = parse_saved(&iptables.save().await?, family);
    let input = cleanup_input(&live, family);
    if input.is_empty() {
        return Ok(false);
    }
    iptables.restore(input).await?;
    Ok(true)
}

/// The restore input that removes what is ours; empty when nothing is.
fn cleanup_input(live: &LiveTables, family: IpFamily) -> String {
    let mut text = String::new();
    for table in Table::ALL {
        let ours: Vec<&ChainKey> =
            live.chains.keys().filter(|key| key.table == table && is_owned(key)).collect();
        if ours.is_empty() {
            continue;
        }
        text.push_str(&format!("*{table}\n"));
        for key in &ours {
            text.push_str(&format!(":{} - [0:0]\n", key.name));
        }
        // Rules that lead to a chain keep it from being deleted.
        for (from, rules) in &live.chains {
            if from.table != table || is_owned(from) {
                continue;
            }
            for rule in rules.iter().filter(|rule| leads_to_ours(rule, table)) {
                text.push_str(&format!("-D {}{}\n", from.name, rule_text(rule, family)));
            }
        }
        for key in &ours {
            text.push_str(&format!("-X {}\n", key.name));
        }
        text.push_str("COMMIT\n");
    }
    text
}

fn leads_to_ours(rule: &Rule, table: Table) -> bool {
    let ours = |name: &str| is_owned(&ChainKey::new(table, name));
    match (&rule.target, rule.matches.as_slice()) {
        (Some(Target::Jump(name)), _) => ours(name),
        (None, [Match::Foreign(words)]) => {
            let mut words = words.split_whitespace();
            let target = words.by_ref().find(|word| matches!(*word, "-j" | "-g"));
            target.is_some() && words.next().is_some_and(ours)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;

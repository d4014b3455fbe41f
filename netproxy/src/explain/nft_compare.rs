//! Pure. Where a live nftables table differs from the plan.

use std::collections::BTreeMap;

use super::compare::{ChainDifference, Change, Line, LineSide, text_mentions};
use crate::config::IpFamily;
use crate::input::ObjectKey;
use crate::nftables::diff::ElementChange;
use crate::nftables::render_rule::RuleText;
use crate::nftables::state::{Chain, Entry, Key, SetName};
use crate::nftables::{LiveTable, NftDiff, NftPlan, NftState, diff, render_diff};

/// The table of a family as nft names it.
pub const fn table_name(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "ip kube-proxy",
        IpFamily::V6 => "ip6 kube-proxy",
    }
}

/// What a sync would change; with a service only its elements, and all chains, which are shared.
pub(super) fn table_differences(
    live: &LiveTable,
    (plan, wanted): (&NftPlan, &NftState),
    only: Option<&ObjectKey>,
) -> Vec<ChainDifference> {
    let table = table_name(wanted.family);
    let whole =
        |change, lines| vec![ChainDifference { table, chain: "table".to_owned(), change, lines }];
    let live = match live {
        LiveTable::Missing => return whole(Change::Create, Vec::new()),
        LiveTable::Foreign(how) => {
            let rule = format!("is not laid out by this version: {how}");
            return whole(Change::Rewrite, vec![Line { side: LineSide::Live, rule }]);
        }
        LiveTable::Ours(live) => live,
    };
    let changes = diff(live, wanted);
    let mut found = Vec::new();
    for (name, chain) in &changes.chains {
        let before = live.chains.get(name);
        let change = if before.is_some() { Change::Rewrite } else { Change::Create };
        let lines = rule_lines(before, Some(chain), wanted.family);
        found.push(ChainDifference { table, chain: name.to_string(), change, lines });
    }
    for name in &changes.gone_chains {
        let lines = rule_lines(live.chains.get(name), None, wanted.family);
        let change = Change::Delete;
        found.push(ChainDifference { table, chain: name.to_string(), change, lines });
    }
    let is_wanted = |set: SetName, key: &Key| {
        let Some(service) = only else { return true };
        let owner = plan.owner(set, key);
        let mentioned = || {
            let comment = live.entry(set, key)?.comment.as_deref()?;
            text_mentions(comment, service).then_some(())
        };
        owner.is_some_and(|owner| owner.service == *service) || mentioned().is_some()
    };
    let mut sets: BTreeMap<SetName, Vec<Line>> = BTreeMap::new();
    let elements = changes.elements.keys().filter(|(set, key)| is_wanted(*set, key));
    for (set, key) in elements {
        let lines = sets.entry(*set).or_default();
        let sides = [(LineSide::Live, live), (LineSide::Planned, wanted)];
        for (side, state) in sides {
            if let Some(entry) = state.entry(*set, key) {
                let rule = element_text(*set, *key, entry, wanted.family);
                lines.push(Line { side, rule });
            }
        }
    }
    found.extend(sets.into_iter().map(|(set, lines)| ChainDifference {
        table,
        chain: set.to_string(),
        change: Change::Rewrite,
        lines,
    }));
    found
}

/// An element as nft prints it within a set.
pub(super) fn element_text(set: SetName, key: Key, entry: &Entry, family: IpFamily) -> String {
    let mut one = NftDiff::default();
    one.elements.insert((set, key), ElementChange::Added(entry.clone()));
    let text = render_diff(&one, family).text;
    let inner = text.split_once("{ ").and_then(|(_, rest)| rest.trim_end().strip_suffix(" }"));
    inner.unwrap_or(&text).to_owned()
}

/// The rules of a chain as nft prints them.
pub(super) fn rule_texts(chain: &Chain, family: IpFamily) -> Vec<String> {
    chain.rules.iter().map(|rule| RuleText { rule, family }.to_string()).collect()
}

/// Rules that only one side has; chains have few, so each is looked for in the other.
fn rule_lines(live: Option<&Chain>, planned: Option<&Chain>, family: IpFamily) -> Vec<Line> {
    let texts =
        |chain: Option<&Chain>| chain.map(|chain| rule_texts(chain, family)).unwrap_or_default();
    let (live, planned) = (texts(live), texts(planned));
    let only = |texts: &[String], other: &[String], side| -> Vec<Line> {
        let own = texts.iter().filter(|text| !other.contains(text)).cloned();
        own.map(|rule| Line { side, rule }).collect()
    };
    let mut lines = only(&live, &planned, LineSide::Live);
    lines.extend(only(&planned, &live, LineSide::Planned));
    lines
}

//! One service whose rules are refused must not keep the others from theirs.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use tracing::warn;

use super::apply::{Applier, SyncError, SyncReport};
use super::graph::jump_target;
use crate::input::ObjectKey;
use crate::rules::chains::is_of_service;
use crate::rules::ruleset::{Chain, ChainKey, Match, Rule, RuleSet, Table};
use crate::rules::{RuleContext, ServiceRules, SharedChain, base};

/// Services that a refusal names one after the other before a sync gives up.
const NAMED: usize = 64;
/// Services that a sync finds by trying halves before it gives up. Each costs about as many
/// writes as the number of services has binary digits.
const SEARCHED: usize = 4;

/// The rules of all services, by service.
pub type Planned = BTreeMap<ObjectKey, Vec<ServiceRules>>;

/// The services that are left out, and why.
#[derive(Default)]
pub struct Isolation {
    refused: BTreeMap<ObjectKey, RefusedService>,
}

/// A service whose rules were refused. It keeps the rules it had before, if any.
pub struct RefusedService {
    /// What iptables said.
    pub cause: Arc<str>,
    rules: Vec<ServiceRules>,
}

impl Isolation {
    /// The services left out by the last sync.
    pub fn refused(&self) -> &BTreeMap<ObjectKey, RefusedService> {
        &self.refused
    }

    /// Puts the rules of all services in place, except of those that are refused. A service that
    /// was refused before is tried again when its rules changed, and whenever the live rules are
    /// read anyway.
    pub async fn sync(
        &mut self,
        applier: &mut Applier,
        context: &RuleContext,
        planned: &Planned,
    ) -> Result<SyncReport, SyncError> {
        if applier.needs_full() {
            self.refused.clear();
        }
        self.refused.retain(|key, refusal| planned.get(key) == Some(&refusal.rules));
        let (mut named, mut searched) = (0, 0);
        let mut doubted = false;
        loop {
            let kept: BTreeSet<ObjectKey> = self.refused.keys().cloned().collect();
            let error = match sync_without(applier, context, planned, &kept).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            let Some(refusal) = error.refusal() else { return Err(error) };
            if !doubted {
                // A refusal may be about the moment; no service is blamed for a single one.
                doubted = true;
                continue;
            }
            let cause: Arc<str> = refusal.to_string().into();
            let culprit = match refusal.line().and_then(|line| service_of_line(line, planned)) {
                Some(key) if !kept.contains(&key) && named < NAMED => {
                    named += 1;
                    Some(key)
                }
                _ if searched < SEARCHED => {
                    searched += 1;
                    let suspect = search(applier, context, planned, &kept).await?;
                    match sync_without(applier, context, planned, &kept).await {
                        Ok(report) => return Ok(report),
                        Err(error) if error.refusal().is_none() => return Err(error),
                        Err(_) => suspect,
                    }
                }
                _ => None,
            };
            let Some(key) = culprit else { return Err(error) };
            warn!(service = %key, error = %cause, "rules are refused, the service keeps those it has");
            let rules = planned.get(&key).cloned().unwrap_or_default();
            self.refused.insert(key, RefusedService { cause, rules });
        }
    }
}

async fn sync_without(
    applier: &mut Applier,
    context: &RuleContext,
    planned: &Planned,
    kept: &BTreeSet<ObjectKey>,
) -> Result<SyncReport, SyncError> {
    let rules = planned.iter().filter(|(key, _)| !kept.contains(*key)).flat_map(|(_, rules)| rules);
    let wanted = base::assemble(context, rules);
    applier.sync_except(wanted, kept).await
}

/// The first service without whose change, and without those after it, everything can be
/// written; nothing when it is not about services. The changes before it are in place then.
async fn search(
    applier: &mut Applier,
    context: &RuleContext,
    planned: &Planned,
    kept: &BTreeSet<ObjectKey>,
) -> Result<Option<ObjectKey>, SyncError> {
    let suspects: Vec<&ObjectKey> = planned.keys().filter(|key| !kept.contains(*key)).collect();
    let (mut fine, mut refused) = (0, suspects.len());
    let mut middle = 0;
    while refused > 0 {
        let later = suspects[middle..].iter().map(|key| (*key).clone());
        let kept = kept.iter().cloned().chain(later).collect();
        match sync_without(applier, context, planned, &kept).await {
            Ok(_) => fine = middle,
            Err(error) if error.refusal().is_none() => return Err(error),
            Err(_) if middle == 0 => return Ok(None),
            Err(_) => refused = middle,
        }
        if refused - fine == 1 {
            return Ok(suspects.get(fine).map(|key| (*key).clone()));
        }
        middle = usize::midpoint(fine, refused);
    }
    Ok(None)
}

/// The service that a line of restore input is about.
fn service_of_line(line: &str, planned: &Planned) -> Option<ObjectKey> {
    let name = match line.strip_prefix(':') {
        Some(rest) => rest.split_whitespace().next(),
        None => line.split_whitespace().nth(1),
    }?;
    if is_of_service(Table::Nat, name) {
        let has = |rules: &ServiceRules| rules.own.iter().any(|(own, _)| **own == *name);
        return planned.iter().find(|(_, ports)| ports.iter().any(has)).map(|(key, _)| key.clone());
    }
    let (_, comment) = line.split_once("--comment \"")?;
    let (namespace, name) = service_of_comment(comment)?.split_once('/')?;
    let key = ObjectKey::new(namespace, name);
    planned.contains_key(&key).then_some(key)
}

/// `namespace/name` at the start of a comment such as `namespace/name:port cluster IP`.
fn service_of_comment(comment: &str) -> Option<&str> {
    let title = comment.split([' ', ':']).next()?;
    title.contains('/').then_some(title)
}

fn service_of_rule(rule: &Rule) -> Option<&str> {
    rule.matches.iter().find_map(|part| match part {
        Match::Comment(comment) => service_of_comment(comment),
        _ => None,
    })
}

/// `wanted`, which leaves out the services of `kept`, with the rules that these have in `live`.
pub(super) fn with_live<'a>(
    live: &RuleSet,
    wanted: &'a RuleSet,
    kept: &BTreeSet<ObjectKey>,
) -> Cow<'a, RuleSet> {
    if kept.is_empty() {
        return Cow::Borrowed(wanted);
    }
    let titles: HashSet<String> = kept.iter().map(ToString::to_string).collect();
    let of_kept =
        |rule: &&Arc<Rule>| service_of_rule(rule).is_some_and(|title| titles.contains(title));
    let mut complete = wanted.clone();
    let mut open: Vec<&str> = Vec::new();
    for key in SharedChain::ALL.map(SharedChain::key) {
        let Some(before) = live.chains.get(&key) else { continue };
        let rules: Vec<&Arc<Rule>> = before.iter().filter(of_kept).collect();
        if rules.is_empty() {
            continue;
        }
        let chain = complete.chains.entry(key).or_insert_with(|| [].into());
        *chain = merged(chain, &rules);
        open.extend(rules.iter().filter_map(|rule| jump_target(rule)));
    }
    while let Some(name) = open.pop() {
        let key = ChainKey::new(Table::Nat, name);
        let Some(chain) = live.chains.get(&key).filter(|_| is_of_service(key.table, name)) else {
            continue;
        };
        if let Entry::Vacant(entry) = complete.chains.entry(key) {
            open.extend(chain.iter().filter_map(|rule| jump_target(rule)));
            entry.insert(chain.clone());
        }
    }
    Cow::Owned(complete)
}

/// Adds rules of services to a chain that lists services by name.
fn merged(chain: &Chain, rules: &[&Arc<Rule>]) -> Chain {
    let name = |rule: &Arc<Rule>| {
        service_of_rule(rule)
            .and_then(|title| title.split_once('/'))
            .map(|(a, b)| [a, b].map(str::to_owned))
    };
    let mut rules = rules.iter().copied().peekable();
    let mut all: Vec<Arc<Rule>> = Vec::with_capacity(chain.len() + rules.len());
    for rule in chain.iter() {
        // The dispatch of node ports is no rule of a service and stays behind them.
        let next = name(rule);
        while let Some(kept) = rules.next_if(|kept| next.is_none() || name(kept) < next) {
            all.push(kept.clone());
        }
        all.push(rule.clone());
    }
    all.extend(rules.cloned());
    all.into()
}

#[cfg(test)]
mod tests;

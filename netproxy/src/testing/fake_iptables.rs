//! iptables in memory, as strict as the real one about what it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::config::IpFamily;
use crate::iptables::parse::{LiveTables, parse_rule, parse_saved};
use crate::iptables::render::rule_text;
use crate::iptables::{Iptables, IptablesError, Version};
use crate::rules::ruleset::{ChainKey, Rule, Table, Target};

const BUILT_IN: [(Table, &[&str]); 3] = [
    (Table::Mangle, &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    (Table::Filter, &["INPUT", "FORWARD", "OUTPUT"]),
    (Table::Nat, &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
];

/// Tables of one family in memory.
pub struct FakeIptables {
    family: IpFamily,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: LiveTables,
    calls: Vec<Call>,
    errors: BTreeMap<&'static str, VecDeque<IptablesError>>,
}

/// A call the fake got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// With its input.
    Restore(String),
    /// A dump.
    Save,
    /// Table, chain and rule.
    EnsureJump(Table, String, String),
}

impl FakeIptables {
    /// Empty tables with their built-in chains.
    pub fn new(family: IpFamily) -> Arc<Self> {
        let mut live = LiveTables::default();
        for (table, names) in BUILT_IN {
            for name in names {
                live.chains.insert(ChainKey::new(table, *name), Vec::new());
            }
        }
        let state = State { live, ..State::default() };
        Arc::new(Self { family, state: Mutex::new(state) })
    }

    /// What is live.
    pub fn live(&self) -> LiveTables {
        self.lock().live.clone()
    }

    /// What is live, as text.
    pub fn saved(&self) -> String {
        saved(&self.lock().live, self.family)
    }

    /// Puts these tables in place of what is live, with the built-in chains.
    pub fn set(&self, text: &str) {
        let mut state = self.lock();
        state.live.chains.retain(|key, _| is_built_in(key));
        state.live.chains.values_mut().for_each(Vec::clear);
        state.live.chains.extend(parse_saved(text, self.family).chains);
    }

    /// The calls since the last call of this, without checks and version queries.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// The restore inputs since the last look at the calls.
    pub fn take_writes(&self) -> Vec<String> {
        let calls = self.take_calls().into_iter();
        calls
            .filter_map(|call| match call {
                Call::Restore(input) => Some(input),
                _ => None,
            })
            .collect()
    }

    /// Fails the next call of that name: `restore`, `save`, `ensure_jump`, `chain_exists`.
    pub fn fail_next(&self, call: &'static str) {
        let error = IptablesError::Failed {
            command: "fake-iptables",
            status: "exit status: 4".to_owned(),
            message: "queued error".to_owned(),
        };
        self.lock().errors.entry(call).or_default().push_back(error);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queued(&self, call: &'static str) -> Result<(), IptablesError> {
        let queued = self.lock().errors.get_mut(call).and_then(VecDeque::pop_front);
        queued.map_or(Ok(()), Err)
    }
}

fn is_built_in(key: &ChainKey) -> bool {
    BUILT_IN.iter().any(|(table, names)| *table == key.table && names.contains(&&*key.name))
}

fn refused(message: impl Into<String>) -> IptablesError {
    IptablesError::Failed {
        command: "fake-iptables-restore",
        status: "exit status: 1".to_owned(),
        message: message.into(),
    }
}

#[async_trait]
impl Iptables for FakeIptables {
    async fn restore(&self, input: String) -> Result<(), IptablesError> {
        self.lock().calls.push(Call::Restore(input.clone()));
        self.queued("restore")?;
        let mut state = self.lock();
        let mut work = state.live.clone();
        let mut table = None;
        for line in input.lines() {
            if let Some(name) = line.strip_prefix('*') {
                let found = Table::ALL.into_iter().find(|table| table.name() == name);
                table = Some(found.ok_or_else(|| refused(format!("no table {name}")))?);
                work = state.live.clone();
            } else if line == "COMMIT" {
                check_jumps(&work)?;
                state.live = work.clone();
            } else {
                let table = table.ok_or_else(|| refused("no table chosen"))?;
                apply_line(&mut work, table, line, self.family)?;
            }
        }
        Ok(())
    }

    async fn save(&self) -> Result<String, IptablesError> {
        self.lock().calls.push(Call::Save);
        self.queued("save")?;
        Ok(self.saved())
    }

    async fn ensure_jump(
        &self,
        table: Table,
        chain: &str,
        rule: &str,
    ) -> Result<(), IptablesError> {
        let call = Call::EnsureJump(table, chain.to_owned(), rule.to_owned());
        self.lock().calls.push(call);
        self.queued("ensure_jump")?;
        let rule = Arc::new(parse_rule(rule, self.family));
        let mut state = self.lock();
        let key = ChainKey::new(table, chain);
        let rules =
            state.live.chains.get_mut(&key).ok_or_else(|| refused(format!("no chain {key}")))?;
        if !rules.contains(&rule) {
            rules.insert(0, rule);
        }
        check_jumps(&state.live)
    }

    async fn chain_exists(&self, table: Table, chain: &str) -> Result<bool, IptablesError> {
        self.queued("chain_exists")?;
        Ok(self.lock().live.chains.contains_key(&ChainKey::new(table, chain)))
    }

    async fn version(&self) -> Result<Version, IptablesError> {
        Ok(Version { major: 1, minor: 8, patch: 9 })
    }
}

fn apply_line(
    work: &mut LiveTables,
    table: Table,
    line: &str,
    family: IpFamily,
) -> Result<(), IptablesError> {
    let (word, rest) = line.split_at_checked(1).ok_or_else(|| refused("empty line"))?;
    if word == ":" {
        let name = rest.split_whitespace().next().unwrap_or_default();
        if name.len() > 28 {
            return Err(refused(format!("chain name too long: {name}")));
        }
        work.chains.insert(ChainKey::new(table, name), Vec::new());
        return Ok(());
    }
    let mut words = line.splitn(3, ' ');
    let (command, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rule = parse_rule(words.next().unwrap_or_default(), family);
    let key = ChainKey::new(table, name);
    let rules = work.chains.get_mut(&key).ok_or_else(|| refused(format!("no chain {key}")))?;
    match command {
        "-A" => rules.push(Arc::new(rule)),
        "-D" => {
            let found = rules.iter().position(|known| **known == rule);
            rules.remove(found.ok_or_else(|| refused(format!("no such rule: {line}")))?);
        }
        "-X" => {
            let referenced = work.chains.iter().any(|(from, rules)| {
                from.table == table && rules.iter().any(|rule| leads_to(rule, name))
            });
            let empty = work.chains.get(&key).is_some_and(Vec::is_empty);
            if referenced || !empty || is_built_in(&key) {
                return Err(refused(format!("chain in use: {key}")));
            }
            work.chains.remove(&key);
        }
        other => return Err(refused(format!("unknown command {other}"))),
    }
    Ok(())
}

fn leads_to(rule: &Rule, name: &str) -> bool {
    matches!(&rule.target, Some(Target::Jump(target)) if **target == *name)
}

/// Like the kernel at commit: a jump needs its chain.
fn check_jumps(live: &LiveTables) -> Result<(), IptablesError> {
    for (key, rules) in &live.chains {
        for rule in rules {
            if let Some(Target::Jump(target)) = &rule.target
                // Names in capitals without KUBE are targets of other modules.
                && target.starts_with("KUBE-")
                && !live.chains.contains_key(&ChainKey::new(key.table, target.clone()))
            {
                return Err(refused(format!("{key} leads to unknown chain {target}")));
            }
        }
    }
    Ok(())
}

fn saved(live: &LiveTables, family: IpFamily) -> String {
    let mut text = String::new();
    for table in Table::ALL {
        let chains = || live.chains.iter().filter(|(key, _)| key.table == table);
        text.push_str(&format!("*{table}\n"));
        for (key, _) in chains() {
            let policy = if is_built_in(key) { "ACCEPT" } else { "-" };
            text.push_str(&format!(":{} {policy} [0:0]\n", key.name));
        }
        for (key, rules) in chains() {
            for rule in rules {
                text.push_str(&format!("-A {}{}\n", key.name, rule_text(rule, family)));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

//! iptables in memory, as strict as the real one about what it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::config::IpFamily;
use crate::iptables::parse::{LiveTables, parse_rule, parse_saved};
use crate::iptables::render::rule_text;
use crate::iptables::{Flavour, Iptables, IptablesError, Version};
use crate::rules::ruleset::{ChainKey, Rule, Table, Target};

const BUILT_IN: [(Table, &[&str]); 3] = [
    (Table::Mangle, &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    (Table::Filter, &["INPUT", "FORWARD", "OUTPUT"]),
    (Table::Nat, &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
];

/// Tables of one family in memory.
pub struct FakeIptables {
    family: IpFamily,
    flavour: Flavour,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: LiveTables,
    calls: Vec<Call>,
    errors: BTreeMap<&'static str, VecDeque<IptablesError>>,
    restores: usize,
    fault: Option<Fault>,
    /// A table that dumps leave out.
    incompatible: Option<Table>,
}

/// What goes wrong with restores until it is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every restore whose number, counted from 1 and from when the fault was set, is a multiple
    /// of this fails before it changes anything.
    Every(usize),
    /// Every restore gives no answer in time and changes nothing.
    Hang,
    /// Input with these words in a line is refused; the refusal names the line.
    Refuse(String),
    /// Input with these words in a line is refused when the table is committed; the refusal names
    /// only that.
    RefuseAtCommit(String),
}

/// A call the fake got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// With its input.
    Restore(String),
    /// A dump.
    Save,
}

impl FakeIptables {
    /// Empty tables of the nft flavour with their built-in chains.
    pub fn new(family: IpFamily) -> Arc<Self> {
        Self::of_flavour(family, Flavour::Nft)
    }

    /// Empty tables with their built-in chains.
    pub fn of_flavour(family: IpFamily, flavour: Flavour) -> Arc<Self> {
        let mut live = LiveTables::default();
        for (table, names) in BUILT_IN {
            for name in names {
                live.chains.insert(ChainKey::new(table, *name), Vec::new());
            }
        }
        let state = State { live, ..State::default() };
        Arc::new(Self { family, flavour, state: Mutex::new(state) })
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

    /// Fails the next call of that name: `restore`, `save`, `chain_exists`.
    pub fn fail_next(&self, call: &'static str) {
        let error = IptablesError::Failed {
            command: "fake-iptables",
            status: "exit status: 4".to_owned(),
            message: "queued error".to_owned(),
            line: None,
        };
        self.lock().errors.entry(call).or_default().push_back(error);
    }

    /// Dumps leave this table out from now on, as those of the nft flavour do when it holds rules
    /// that iptables cannot express.
    pub fn make_incompatible(&self, table: Table) {
        self.lock().incompatible = Some(table);
    }

    /// Lets restores go wrong from now on, or work again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        state.restores = 0;
        state.fault = fault;
    }

    /// The error that the fault asks for.
    fn faulty(&self, input: &str) -> Result<(), IptablesError> {
        let mut state = self.lock();
        state.restores += 1;
        let named = |words: &String| {
            let at = input.lines().position(|line| line.contains(words));
            at.and_then(|at| input.lines().nth(at)).map(str::to_owned)
        };
        match &state.fault {
            Some(Fault::Every(step)) if state.restores.is_multiple_of(*step) => {
                Err(refused("it was its turn"))
            }
            Some(Fault::Hang) => Err(IptablesError::Deadline {
                command: "fake-iptables-restore",
                limit: Duration::from_secs(30),
            }),
            Some(Fault::Refuse(words)) => match named(words) {
                Some(line) => Err(refused_line("bad line", Some(line))),
                None => Ok(()),
            },
            Some(Fault::RefuseAtCommit(words)) => match named(words) {
                Some(_) => Err(refused_line("commit failed", Some("COMMIT".to_owned()))),
                None => Ok(()),
            },
            _ => Ok(()),
        }
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
    refused_line(message, None)
}

fn refused_line(message: impl Into<String>, line: Option<String>) -> IptablesError {
    IptablesError::Failed {
        command: "fake-iptables-restore",
        status: "exit status: 1".to_owned(),
        message: message.into(),
        line,
    }
}

#[async_trait]
impl Iptables for FakeIptables {
    async fn restore(&self, input: String) -> Result<(), IptablesError> {
        self.lock().calls.push(Call::Restore(input.clone()));
        self.queued("restore")?;
        self.faulty(&input)?;
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
        let mut state = self.lock();
        let Some(table) = state.incompatible else { return Ok(saved(&state.live, self.family)) };
        let live = state.live.clone();
        state.live.chains.retain(|key, _| key.table != table);
        let rest = saved(&state.live, self.family);
        state.live = live;
        Ok(format!("{rest}# Table `{table}' is incompatible, use 'nft' tool.\n"))
    }

    async fn has_rule(&self, table: Table, chain: &str, rule: &str) -> Result<bool, IptablesError> {
        let rule = parse_rule(rule, self.family);
        let state = self.lock();
        let rules = state.live.chains.get(&ChainKey::new(table, chain));
        Ok(rules.is_some_and(|rules| rules.iter().any(|live| live.equivalent(&rule))))
    }

    async fn chain_exists(&self, table: Table, chain: &str) -> Result<bool, IptablesError> {
        self.queued("chain_exists")?;
        Ok(self.lock().live.chains.contains_key(&ChainKey::new(table, chain)))
    }

    fn flavour(&self) -> Flavour {
        self.flavour
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
    let rest = words.next().unwrap_or_default();
    let (place, rest) = match rest.split_once(' ') {
        Some((place, rule)) if command == "-I" && place.parse::<usize>().is_ok() => {
            (place.parse().unwrap_or(1), rule)
        }
        _ => (1, rest),
    };
    let rule = parse_rule(rest, family);
    let key = ChainKey::new(table, name);
    let rules = work.chains.get_mut(&key).ok_or_else(|| refused(format!("no chain {key}")))?;
    match command {
        "-A" => rules.push(Arc::new(rule)),
        "-I" if place <= rules.len() + 1 => rules.insert(place - 1, Arc::new(rule)),
        "-I" => return Err(refused_line("index of insertion too big", Some(line.to_owned()))),
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

//! Our nftables table in memory, as strict as the kernel about what it is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::config::IpFamily;
use crate::nftables::diff::ElementChange;
use crate::nftables::floor::Release;
use crate::nftables::rule::Statement;
use crate::nftables::state::SetName;
use crate::nftables::state::{ChainName, Key, Value};
use crate::nftables::{LiveTable, Nft, NftDiff, NftError, NftState};

/// `ENOENT`.
const NOT_FOUND: i32 = 2;
/// `EEXIST`.
const EXISTS: i32 = 17;
/// `EINVAL`.
const INVALID: i32 = 22;

/// The table of one family in memory.
pub struct FakeNft {
    family: IpFamily,
    state: Mutex<State>,
}

struct State {
    live: LiveTable,
    calls: Vec<NftCall>,
    errors: BTreeMap<&'static str, VecDeque<NftError>>,
    /// Keys that are always refused, as a kernel bug or an exotic limit would.
    poison: BTreeSet<Key>,
    version: Release,
}

/// A call the fake got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NftCall {
    /// The table was built anew.
    Replace(NftState),
    /// Changes.
    Update(NftDiff),
    /// Chains.
    DeleteChains(BTreeSet<ChainName>),
    /// A dump.
    Read,
    /// The table went.
    Remove,
}

impl FakeNft {
    /// No table, and a tool of release 1.0.6.
    pub fn new(family: IpFamily) -> Arc<Self> {
        let state = State {
            live: LiveTable::Missing,
            calls: Vec::new(),
            errors: BTreeMap::new(),
            poison: BTreeSet::new(),
            version: Release { major: 1, minor: 0, patch: 6 },
        };
        Arc::new(Self { family, state: Mutex::new(state) })
    }

    /// What is live.
    pub fn live(&self) -> LiveTable {
        self.lock().live.clone()
    }

    /// Puts this in place of what is live, as somebody else would.
    pub fn set(&self, live: LiveTable) {
        self.lock().live = live;
    }

    /// The calls since the last call of this, without questions for existence and version.
    pub fn take_calls(&self) -> Vec<NftCall> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Fails the next call of `replace`, `update`, `delete_chains`, `read`, `exists`, `remove` or
    /// `version`.
    pub fn fail_next(&self, name: &'static str, error: NftError) {
        self.lock().errors.entry(name).or_default().push_back(error);
    }

    /// Refuses this key from now on.
    pub fn poison(&self, key: Key) {
        self.lock().poison.insert(key);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless an error is queued for the call.
    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, State>, NftError> {
        let mut state = self.lock();
        match state.errors.get_mut(name).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }
}

fn refused(elements: BTreeMap<(SetName, Key), i32>, changes: usize) -> Result<(), NftError> {
    let Some(((set, _), code)) = elements.first_key_value() else { return Ok(()) };
    let (set, source) = (*set, io::Error::from_raw_os_error(*code));
    Err(NftError::Refused { refused: elements.into_keys().collect(), changes, set, source })
}

fn failed(message: String) -> NftError {
    NftError::Failed { status: "exit status: 1".to_owned(), message }
}

/// Every chain that a rule or an element leads to has to be there.
fn check_targets(state: &NftState) -> Result<(), NftError> {
    let rules = state.chains.values().flat_map(|chain| &chain.rules);
    let jumps = rules.flat_map(|rule| &rule.statements).filter_map(|statement| match statement {
        Statement::Jump(chain) | Statement::Goto(chain) => Some(chain),
        _ => None,
    });
    let entries = state.sets.values().flat_map(BTreeMap::values);
    let gotos = entries.filter_map(|entry| match &entry.value {
        Value::Goto(chain) => Some(chain),
        _ => None,
    });
    match jumps.chain(gotos).find(|chain| !state.chains.contains_key(*chain)) {
        None => Ok(()),
        Some(chain) => Err(failed(format!("No such file or directory (chain {chain})"))),
    }
}

impl State {
    fn check_elements(&self, live: &NftState, changes: &NftDiff) -> Result<(), NftError> {
        let mut bad = BTreeMap::new();
        for ((set, key), change) in &changes.elements {
            let there = live.entry(*set, key).is_some();
            let code = match change {
                ElementChange::Added(_) | ElementChange::Replaced(_)
                    if self.poison.contains(key) =>
                {
                    INVALID
                }
                ElementChange::Added(_) if there => EXISTS,
                ElementChange::Replaced(_) | ElementChange::Removed if !there => NOT_FOUND,
                _ => continue,
            };
            bad.insert((*set, *key), code);
        }
        refused(bad, changes.elements.len())
    }
}

#[async_trait]
impl Nft for FakeNft {
    async fn replace(&self, wanted: &NftState) -> Result<(), NftError> {
        let mut state = self.call("replace")?;
        state.calls.push(NftCall::Replace(wanted.clone()));
        if wanted.family != self.family {
            return Err(failed("table of another family".to_owned()));
        }
        check_targets(wanted)?;
        if wanted.sets.values().flat_map(BTreeMap::keys).any(|key| state.poison.contains(key)) {
            return Err(failed("Invalid argument".to_owned()));
        }
        let mut built = wanted.clone();
        built.sets.retain(|set, _| !set.is_dynamic());
        state.live = LiveTable::Ours(built);
        Ok(())
    }

    async fn update(&self, changes: &NftDiff) -> Result<(), NftError> {
        let mut state = self.call("update")?;
        state.calls.push(NftCall::Update(changes.clone()));
        let LiveTable::Ours(live) = &state.live else {
            return Err(failed("No such file or directory".to_owned()));
        };
        state.check_elements(live, changes)?;
        if let Some(name) = changes.gone_chains.iter().find(|name| !live.chains.contains_key(*name))
        {
            return Err(failed(format!("No such file or directory (chain {name})")));
        }
        let mut next = live.clone();
        for name in &changes.gone_chains {
            next.chains.entry(name.clone()).or_default().rules.clear();
        }
        let kept = NftDiff { gone_chains: BTreeSet::new(), ..changes.clone() };
        let next = kept.applied_to(&next);
        check_targets(&next)?;
        state.live = LiveTable::Ours(next);
        Ok(())
    }

    async fn delete_chains(&self, chains: &BTreeSet<ChainName>) -> Result<(), NftError> {
        let mut state = self.call("delete_chains")?;
        state.calls.push(NftCall::DeleteChains(chains.clone()));
        let LiveTable::Ours(live) = &state.live else {
            return Err(failed("No such file or directory".to_owned()));
        };
        let mut next = live.clone();
        for name in chains {
            if next.chains.remove(name).is_none() {
                return Err(failed(format!("No such file or directory (chain {name})")));
            }
        }
        check_targets(&next).map_err(|_| failed("Device or resource busy".to_owned()))?;
        state.live = LiveTable::Ours(next);
        Ok(())
    }

    async fn read(&self) -> Result<LiveTable, NftError> {
        let mut state = self.call("read")?;
        state.calls.push(NftCall::Read);
        Ok(state.live.clone())
    }

    async fn exists(&self) -> Result<bool, NftError> {
        Ok(self.call("exists")?.live != LiveTable::Missing)
    }

    async fn remove(&self) -> Result<bool, NftError> {
        let mut state = self.call("remove")?;
        state.calls.push(NftCall::Remove);
        Ok(std::mem::replace(&mut state.live, LiveTable::Missing) != LiveTable::Missing)
    }

    async fn version(&self) -> Result<Release, NftError> {
        Ok(self.call("version")?.version)
    }
}

//! Counters in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::nfacct::{AccountingCounters, Count};

/// Counters in memory.
#[derive(Default)]
pub struct FakeAccounting {
    state: Mutex<Objects>,
}

#[derive(Default)]
struct Objects {
    counts: BTreeMap<String, Count>,
    missing: bool,
}

impl FakeAccounting {
    /// A kernel that can count and has no objects.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Lets every call fail from now on, as a kernel that cannot count does.
    pub fn switch_off(&self) {
        self.lock().missing = true;
    }

    /// Changes what an object counted, and makes it if it is not there.
    pub fn set(&self, name: &str, packets: u64) {
        self.lock().counts.insert(name.to_owned(), Count { packets, bytes: packets * 100 });
    }

    /// The names of the objects.
    pub fn names(&self) -> Vec<String> {
        self.lock().counts.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> io::Result<MutexGuard<'_, Objects>> {
        let state = self.lock();
        if state.missing { Err(io::ErrorKind::Unsupported.into()) } else { Ok(state) }
    }
}

#[async_trait]
impl AccountingCounters for FakeAccounting {
    async fn ensure(&self, name: &str) -> io::Result<()> {
        self.working()?.counts.entry(name.to_owned()).or_default();
        Ok(())
    }

    async fn count(&self, name: &str) -> io::Result<Count> {
        self.working()?.counts.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

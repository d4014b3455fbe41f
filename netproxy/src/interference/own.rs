//! Who of the writers is this process.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// Remembered writers. Their notifications come within milliseconds, so only the newest count;
/// a process id comes back only after tens of thousands of others.
const REMEMBERED: usize = 256;

/// The process ids and netlink ports through which this process changes rules. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct OwnWriters(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ports: VecDeque<u32>,
    running: usize,
    finished: u64,
}

/// Held while a command of ours runs.
#[derive(Debug)]
pub struct OwnRun(OwnWriters);

/// One for the whole process, because process ids are facts of the process.
static OF_THIS_PROCESS: LazyLock<OwnWriters> = LazyLock::new(OwnWriters::default);

impl OwnWriters {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        OF_THIS_PROCESS.clone()
    }

    /// Remembers a process id of a child, or the port of a netlink socket of ours.
    pub fn note(&self, port: u32) {
        let mut state = self.lock();
        if state.ports.contains(&port) {
            return;
        }
        if state.ports.len() == REMEMBERED {
            state.ports.pop_front();
        }
        state.ports.push_back(port);
    }

    /// Whether the process id or port is one of the newest remembered ones.
    pub fn is_own(&self, port: u32) -> bool {
        self.lock().ports.contains(&port)
    }

    /// To be held while a command of ours runs that may take the lock of legacy iptables.
    pub fn run(&self) -> OwnRun {
        self.lock().running += 1;
        OwnRun(self.clone())
    }

    /// Whether a command of ours runs, and how many have ended.
    pub fn runs(&self) -> (bool, u64) {
        let state = self.lock();
        (state.running > 0, state.finished)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnRun {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running = state.running.saturating_sub(1);
        state.finished += 1;
    }
}

#[cfg(test)]
mod tests;

//! The threads of this program, as the kernel counts them.

#![allow(clippy::disallowed_methods, reason = "an adapter: it reads /proc")]

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

#[cfg(test)]
mod tests;

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// The kernel's number of it.
    pub id: u64,
    pub name: String,
    /// Processor time used in the program and in the kernel for it.
    pub user: Duration,
    pub system: Duration,
}

/// Reads the threads of this program.
#[derive(Clone, Debug)]
pub struct Threads {
    proc: PathBuf,
    /// Length of one unit of the kernel's counts.
    tick: Duration,
}

impl Default for Threads {
    fn default() -> Self {
        let ticks = match sysconf(SysconfVar::CLK_TCK) {
            Ok(Some(ticks)) if ticks > 0 => ticks.unsigned_abs(),
            // What Linux has had on every architecture for decades.
            _ => 100,
        };
        Self { proc: "/proc/self".into(), tick: Duration::from_nanos(1_000_000_000 / ticks) }
    }
}

impl Threads {
    /// All threads, by number. Those that end meanwhile are left out. Short reads of kernel state.
    pub fn list(&self) -> io::Result<Vec<Thread>> {
        let mut threads = Vec::new();
        for entry in std::fs::read_dir(self.proc.join("task"))? {
            let path = entry?.path();
            let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            let text = std::fs::read_to_string(path.join("stat"));
            if let (Some(id), Ok(text)) = (id, text) {
                threads.extend(self.parse(id, &text));
            }
        }
        threads.sort_by_key(|thread| thread.id);
        Ok(threads)
    }

    /// The arguments this program was started with.
    pub fn command_line(&self) -> io::Result<Vec<u8>> {
        std::fs::read(self.proc.join("cmdline"))
    }

    /// `NUMBER (NAME) STATE ...`; the name may hold anything, so fields count from its end.
    fn parse(&self, id: u64, text: &str) -> Option<Thread> {
        let (start, rest) = text.rsplit_once(')')?;
        let name = start.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // proc_pid_stat(5): the state, which comes first here, is field 3.
        let time = |number: usize| {
            let ticks: u32 = fields.get(number - 3)?.parse().ok()?;
            Some(self.tick * ticks)
        };
        Some(Thread { id, name, user: time(14)?, system: time(15)? })
    }
}

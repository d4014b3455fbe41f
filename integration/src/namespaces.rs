//! Namespaces held by file descriptors, and running something inside them.
//!
//! A thread enters, never the calling one: namespaces belong to threads, and a thread of the
//! async runtime that changed its namespace would carry later tasks there.

use std::fs::File;
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

/// The namespaces of a node, or only a network namespace.
#[derive(Debug)]
pub struct Namespaces {
    net: OwnedFd,
    rest: Option<Rest>,
}

/// What a node has beside its network.
#[derive(Debug)]
struct Rest {
    mount: OwnedFd,
    uts: OwnedFd,
    ipc: OwnedFd,
    process: OwnedFd,
}

fn open(path: &str) -> Result<OwnedFd> {
    Ok(File::open(path).with_context(|| format!("cannot open {path}"))?.into())
}

impl Namespaces {
    /// All namespaces of a living process.
    pub fn of_process(id: u32) -> Result<Self> {
        let namespace = |kind: &str| open(&format!("/proc/{id}/ns/{kind}"));
        let rest = Rest {
            mount: namespace("mnt")?,
            uts: namespace("uts")?,
            ipc: namespace("ipc")?,
            process: namespace("pid")?,
        };
        Ok(Self { net: namespace("net")?, rest: Some(rest) })
    }

    /// A new, empty network namespace without a name; gone when this is dropped and its last
    /// process has ended.
    pub fn new_network() -> Result<Self> {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            Ok(Self { net: open("/proc/thread-self/ns/net")?, rest: None })
        })
    }

    fn enter(&self) -> Result<()> {
        setns(&self.net, CloneFlags::CLONE_NEWNET).context("cannot enter the network")?;
        if let Some(rest) = &self.rest {
            unshare(CloneFlags::CLONE_FS).context("cannot leave the shared working directory")?;
            setns(&rest.uts, CloneFlags::CLONE_NEWUTS).context("cannot enter the host name")?;
            setns(&rest.ipc, CloneFlags::CLONE_NEWIPC).context("cannot enter the ipc")?;
            setns(&rest.mount, CloneFlags::CLONE_NEWNS).context("cannot enter the mounts")?;
        }
        Ok(())
    }

    /// Runs `work` inside, on a thread of its own, and waits for it. The thread keeps its
    /// process namespace: only programs started with [`Self::spawn`] enter that.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Runs a future inside, on a thread and a runtime of its own, so that the sockets it opens
    /// belong to this network. Blocks: call it through `spawn_blocking`.
    pub fn block_on<T: Send, F>(&self, work: impl FnOnce() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work())
        })
    }

    /// Starts a program inside, the process namespace included.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        on_thread(|| {
            self.enter()?;
            if let Some(rest) = &self.rest {
                setns(&rest.process, CloneFlags::CLONE_NEWPID)
                    .context("cannot enter the process namespace")?;
            }
            let program = command.get_program().to_owned();
            command.spawn().with_context(|| format!("cannot start {}", program.display()))
        })
    }

    /// Runs a program inside to its end and returns what it printed; an error with its standard
    /// error when it fails.
    pub fn output(&self, command: &mut Command) -> Result<String> {
        self.run(|| crate::daemon::output(command))
    }

    /// The network namespace, for calls that move an interface into it.
    #[must_use]
    pub fn network(&self) -> std::os::fd::BorrowedFd<'_> {
        self.net.as_fd()
    }
}

/// Runs `work` on a thread that ends with it, so that what it changed about itself ends as well.
pub(crate) fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(anyhow!("the thread inside the namespaces panicked")))
}

//! The namespaces of a node: made by the first process of the node, held by it, gone with it.
//!
//! The node sees the machine's files with its own `/etc`, `/opt`, `/run`, `/var/lib` and
//! `/var/log` laid over them, its own `/proc` and `/sys`, and the machine's cgroups.
//! Mounts inside are shared among the node's own mount namespaces, as a kubelet expects of `/`,
//! and invisible outside.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::sethostname;
use serde::{Deserialize, Serialize};

use crate::isolation::variable;
use crate::namespaces::{Namespaces, on_thread};

const READY: &str = "ready";

/// Directories a node may write to: laid over the machine's, so that its content is there.
const OVERLAID: [&str; 3] = ["/etc", "/opt", "/var/lib"];

/// What the first process of a node is told.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    name: String,
    /// Folder for the upper layers and bound directories.
    directory: PathBuf,
    nameserver: String,
}

/// A node's namespaces and their first process. Dropping it ends every process of the node.
#[derive(Debug)]
pub struct NodeSpace {
    init: Mutex<Child>,
    id: u32,
    namespaces: Arc<Namespaces>,
}

impl NodeSpace {
    /// Makes the namespaces of a node called `name`, with its private files in `directory` and
    /// `nameserver` in its `/etc/resolv.conf`.
    pub fn start(name: &str, directory: &Path, nameserver: &str) -> Result<Self> {
        let request = Request {
            name: name.to_owned(),
            directory: directory.to_owned(),
            nameserver: nameserver.to_owned(),
        };
        let request = serde_json::to_string(&request)?;
        let mut init = on_thread(|| {
            // Applies to the next child of this thread, which becomes the first process.
            unshare(CloneFlags::CLONE_NEWPID).context("cannot make a process namespace")?;
            Command::new("/proc/self/exe")
                .env(variable::ROLE, "node")
                .env(variable::NODE_SPACE, request)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context("cannot start the first process of the node")
        })?;
        let id = init.id();
        let mut line = String::new();
        let printed = init.stdout.take().context("no pipe from the node's first process")?;
        BufReader::new(printed).read_line(&mut line)?;
        ensure!(line.trim() == READY, "node {name} could not make its namespaces");
        let namespaces = Arc::new(Namespaces::of_process(id)?);
        Ok(Self { init: Mutex::new(init), id, namespaces })
    }

    /// The namespaces, to start programs in.
    #[must_use]
    pub fn namespaces(&self) -> &Arc<Namespaces> {
        &self.namespaces
    }

    /// Process id of the first process as the tests see it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Kills every process of the node. Returns at once: the kernel ends the first process only
    /// after the others were waited for, which is up to who started them.
    pub fn kill(&self) {
        let mut init = self.init.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = init.kill();
    }

    /// Waits until every process of the node is gone; [`Self::kill`] comes before.
    pub fn wait(&self) {
        let mut init = self.init.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = init.wait();
    }
}

impl Drop for NodeSpace {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The life of a node's first process: makes the namespaces, then adopts orphans.
pub fn run() -> Result<ExitCode> {
    let text = std::env::var(variable::NODE_SPACE).context("no description of the node")?;
    let request: Request = serde_json::from_str(&text).context("description of the node")?;
    // Blocked before the first child can exist, so that no end of one is missed.
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().context("cannot block SIGCHLD")?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .context("cannot make namespaces")?;
    sethostname(&request.name).context("cannot set the host name")?;
    mount_all(&request)?;
    enable_forwarding();
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")?;
    out.flush()?;
    loop {
        children.wait().context("cannot wait for SIGCHLD")?;
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
    }
}

const NONE: Option<&str> = None;

fn mount_all(request: &Request) -> Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("cannot make the mounts private")?;
    for path in OVERLAID {
        overlay(path, &request.directory.join("files").join(path[1..].replace('/', "-")))?;
    }
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .context("cannot mount /run")?;
    let logs = request.directory.join("files/var-log");
    fs::create_dir_all(&logs)?;
    bind(&logs, Path::new("/var/log"))?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NONE)
        .context("cannot mount /proc")?;
    mount_sys(&request.directory)?;
    let resolver = Path::new("/etc/resolv.conf");
    // It is often a link into /run, which is empty now.
    let _ = fs::remove_file(resolver);
    fs::write(resolver, format!("nameserver {}\n", request.nameserver))?;
    fs::write("/etc/hostname", format!("{}\n", request.name))?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE)
        .context("cannot share the mounts inside the node")
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .with_context(|| format!("cannot bind {} to {}", from.display(), to.display()))
}

/// Lays a writable layer in `directory` over `path`.
fn overlay(path: &str, directory: &Path) -> Result<()> {
    let (upper, work) = (directory.join("upper"), directory.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options =
        format!("lowerdir={path},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), path, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("cannot overlay {path}"))
}

/// Gives the node a `/sys` that shows its own network devices, with the machine's cgroups in it.
fn mount_sys(directory: &Path) -> Result<()> {
    let aside = directory.join("files/cgroups");
    fs::create_dir_all(&aside)?;
    bind(Path::new("/sys/fs/cgroup"), &aside)?;
    umount2("/sys", MntFlags::MNT_DETACH).context("cannot unmount /sys")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), NONE)
        .context("cannot mount /sys")?;
    bind(&aside, Path::new("/sys/fs/cgroup"))?;
    umount2(&aside, MntFlags::MNT_DETACH).context("cannot unmount the cgroups set aside")
}

/// Sets what a node administrator sets. Files that a kernel lacks are left out: no IPv6, or no
/// bridge filter.
fn enable_forwarding() {
    for name in [
        "net/ipv4/ip_forward",
        "net/ipv6/conf/all/forwarding",
        "net/bridge/bridge-nf-call-iptables",
        "net/bridge/bridge-nf-call-ip6tables",
    ] {
        let _ = fs::write(Path::new("/proc/sys").join(name), "1");
    }
}

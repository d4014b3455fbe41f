//! Private namespaces. Each lives as long as something that was made in it, so nothing is left
//! behind, however a test ends.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
pub struct Netns(File);

impl Netns {
    /// A new one, with nothing but its loopback interface.
    pub fn make() -> Self {
        let home = Home::note();
        unshare(CloneFlags::CLONE_NEWNET).expect("making a network namespace needs root");
        let made = Self::current();
        run("ip", &["link", "set", "lo", "up"]);
        drop(home);
        made
    }

    fn current() -> Self {
        Self(File::open("/proc/thread-self/ns/net").unwrap())
    }

    /// Runs `work` in there. What it opens and starts stays in there.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _home = Home::note();
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    }

    /// The same one, for somebody else.
    pub fn again(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    /// A path under which child processes of this test find it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// Brings the thread back where it was, also on a panic.
struct Home(Netns);

impl Home {
    fn note() -> Self {
        Self(Netns::current())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        setns(&self.0.0, CloneFlags::CLONE_NEWNET).unwrap();
    }
}

/// Runs a test in a network namespace of its own. Its child processes and the threads it starts
/// are in there too.
pub fn in_namespace(test: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("making a network namespace needs root");
        run("ip", &["link", "set", "lo", "up"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Gives the thread mounts of its own, with a lock file for iptables that nobody else knows.
pub fn private_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("making a mount namespace needs root");
    let nothing = None::<&Path>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
}

/// What a command prints; a failure of it is one of the test.
pub fn run(command: &str, arguments: &[&str]) -> String {
    run_with_input(command, arguments, "")
}

/// The same with something to read.
pub fn run_with_input(command: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(command)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {arguments:?}: {errors}\n{input}");
    String::from_utf8(output.stdout).unwrap()
}

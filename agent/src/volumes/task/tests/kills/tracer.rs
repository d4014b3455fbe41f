//! Runs the child and kills it at a chosen step.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

const READY: &str = "ready";

/// System calls that change a file or a mount.
const STEPS: [i64; 24] = [
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_lchown,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsmount,
    libc::SYS_ftruncate,
];

#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Killed,
    Itself { steps: usize },
}

/// In the child: says that all of its threads are there to be traced, and waits for that.
pub fn wait_for_tracer() {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{READY}").unwrap();
    stdout.flush().unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

/// Runs the child with these variables. Kills it as it enters its step `kill_at`, counted from 1;
/// with `None`, or when it has fewer, it goes on to its end, which must be a good one.
#[expect(clippy::zombie_processes, reason = "whoever traces a process waits for it by its id")]
pub fn run_child(variables: &[(&str, String)], kill_at: Option<usize>) -> Ended {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "volumes::task::tests::kills::child", "--nocapture", "--test-threads=1"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.ends_with(&format!("{READY}\n")) {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended early");
    }
    seize(pid);
    child.stdin.take().unwrap().write_all(b"g").unwrap();
    follow(pid, kill_at)
}

/// Attaches to all threads, those to come included.
fn seize(pid: Pid) {
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    for entry in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread: i32 = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, options).unwrap();
        ptrace::interrupt(thread).unwrap();
    }
}

fn follow(pid: Pid, kill_at: Option<usize>) -> Ended {
    let mut steps = 0;
    // Threads that are inside a system call.
    let mut inside = std::collections::HashSet::new();
    loop {
        // Only children of this thread: other tests have children too.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let status = waitpid(None, Some(flags)).unwrap();
        match status {
            WaitStatus::Exited(of, code) if of == pid => {
                assert_eq!(code, 0, "the child failed");
                return Ended::Itself { steps };
            }
            WaitStatus::Signaled(of, signal, _) if of == pid => {
                assert_eq!(signal, Signal::SIGKILL);
                return Ended::Killed;
            }
            WaitStatus::PtraceSyscall(thread) => {
                if inside.insert(thread) {
                    steps += usize::from(is_step(pid, thread));
                    if kill_at.is_some_and(|at| at <= steps) {
                        kill(pid, Signal::SIGKILL).unwrap();
                        continue;
                    }
                } else {
                    inside.remove(&thread);
                }
                go_on(thread, None);
            }
            WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal)),
            WaitStatus::PtraceEvent(thread, _, _) => go_on(thread, None),
            // A thread that has ended.
            _ => {}
        }
    }
}

/// Whether the system call that the thread enters changes a file or a mount.
fn is_step(pid: Pid, thread: Pid) -> bool {
    let Ok(registers) = ptrace::getregs(thread) else { return false };
    let creates = |flags: u64| flags & u64::from(libc::O_CREAT.unsigned_abs()) != 0;
    match registers.orig_rax.cast_signed() {
        libc::SYS_openat => creates(registers.rdx),
        libc::SYS_openat2 => {
            let flags = ptrace::read(thread, registers.rdx as ptrace::AddressType);
            flags.is_ok_and(|flags| creates(flags.cast_unsigned()))
        }
        // Wake-ups and the harness's own output are no files.
        libc::SYS_write => {
            let file = std::fs::read_link(format!("/proc/{pid}/fd/{}", registers.rdi));
            file.is_ok_and(|file| file.starts_with("/") && !file.starts_with("/dev"))
        }
        call => STEPS.contains(&call),
    }
}

fn go_on(thread: Pid, signal: Option<Signal>) {
    // It may have been killed meanwhile, which the next wait tells.
    let _ = ptrace::syscall(thread, signal);
}

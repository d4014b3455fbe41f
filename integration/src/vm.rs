//! A virtual machine: Debian 12 with systemd, cgroup v2 and containerd 1.6, on the network of the
//! cluster and under emulation, since a machine for tests may lack KVM.
//!
//! The disk is the one of `scripts/ground`; what a machine writes goes to a file that has no name
//! and vanishes with it. Commands and their output travel through a serial port, so that they do
//! not depend on the network, and the machine is a process of the run like any other.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;

use crate::daemon::{Daemon, Program, output, tail};
use crate::netns::{CONTROL_PLANE, Place};
use crate::real_cluster::Cluster;
use crate::wait::{self, Look};

/// How long a machine may take to boot: 20 s when it has two cores to itself, and nine minutes were
/// seen with a tenth of them.
pub const BOOT_LIMIT: Duration = Duration::from_secs(1200);

/// Room on the payload disk beside the files.
const PAYLOAD_SLACK: u64 = 64 << 20;

/// A running machine. Dropping it is pulling its plug.
pub struct Vm {
    name: String,
    machine: Daemon,
    port: Mutex<Port>,
    place: Place,
    console: PathBuf,
    cluster: Arc<Cluster>,
}

/// The machine's end of the conversation is `integration/vm/usr/local/sbin/harness`.
struct Port {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

/// How a script came out.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub status: i32,
    /// What it printed on both outputs.
    pub text: String,
}

impl Vm {
    /// Boots a machine of this host name; returns when it takes commands. `payload` is files by
    /// the names that they have below `/payload`.
    pub async fn boot(
        cluster: &Arc<Cluster>,
        name: &str,
        payload: &[(&str, PathBuf)],
    ) -> Result<Self> {
        let directory = cluster.run().directory().join("machines").join(name);
        fs::create_dir_all(&directory)?;
        let disk = payload_disk(&directory, payload).await?;
        let tap = format!("tap-{name}");
        let place = cluster.network().attach_tap(&tap)?;
        let socket = directory.join("port.sock");
        let console = cluster.logs().join(format!("{name}-console.log"));
        let ground = cluster.ground().directory().join("vm");
        let log = cluster.logs().join(format!("{name}-qemu.log"));
        let machine = Program::new("/usr/bin/qemu-system-x86_64", log)
            .args(arguments(&ground, &disk, name))
            .args(["-append".to_owned(), kernel_line(name, place.v4())])
            .args(["-serial".to_owned(), format!("file:{}", console.display())])
            .args(["-chardev".to_owned(), chardev(&socket)])
            .args(["-netdev".to_owned(), netdev(&tap)])
            .env("TMPDIR", &directory)
            .start()?;
        let stream = wait::until("serial port", BOOT_LIMIT, || async {
            machine.expect_running()?;
            Ok(Look::Met(UnixStream::connect(&socket).await?))
        })
        .await?;
        let (reader, writer) = stream.into_split();
        let port = Port { lines: BufReader::new(reader).lines(), writer };
        let vm = Self {
            name: name.to_owned(),
            machine,
            port: Mutex::new(port),
            place,
            console,
            cluster: Arc::clone(cluster),
        };
        vm.wait_for_hello().await?;
        Ok(vm)
    }

    /// The machine's host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the cluster's network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.place.v4()
    }

    /// Runs a bash script as root.
    pub async fn run(&self, script: &str, limit: Duration) -> Result<Ran> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let id = NUMBERS.fetch_add(1, Ordering::Relaxed).to_string();
        let mut port = self.port.lock().await;
        let line = format!("{id} {}\n", BASE64.encode(script));
        port.writer.write_all(line.as_bytes()).await.context("cannot send a script")?;
        let answer = async {
            // What is late of a script that was given up comes before.
            loop {
                let line = port.lines.next_line().await?.context("the machine is gone")?;
                let mut words = line.split(' ');
                if words.next() == Some(&id) {
                    let status = words.next().unwrap_or_default().parse()?;
                    let text = BASE64.decode(words.next().unwrap_or_default())?;
                    let text = String::from_utf8_lossy(&text).into_owned();
                    return anyhow::Ok(Ran { status, text });
                }
            }
        };
        match tokio::time::timeout(limit, answer).await {
            Ok(ran) => ran.with_context(|| format!("script: {script}")),
            Err(_) => bail!("script did not end within {limit:?}: {script}\n{}", self.console()),
        }
    }

    /// Runs a bash script that must succeed, with `-e`, and returns what it printed.
    pub async fn succeed(&self, script: &str, limit: Duration) -> Result<String> {
        let ran = self.run(&format!("set -eu\n{script}"), limit).await?;
        ensure!(ran.status == 0, "{script}\nexit status {}:\n{}", ran.status, ran.text);
        Ok(ran.text)
    }

    /// Shuts the machine down in an orderly way and boots it again.
    pub async fn reboot(&self) -> Result<()> {
        // The answer may not come any more.
        let line = format!("0 {}\n", BASE64.encode("systemctl --no-block reboot"));
        self.port.lock().await.writer.write_all(line.as_bytes()).await?;
        self.wait_for_hello().await
    }

    async fn wait_for_hello(&self) -> Result<()> {
        let mut port = self.port.lock().await;
        let hello = async {
            loop {
                let line = port.lines.next_line().await?.context("the machine is gone")?;
                if line.starts_with("hello ") {
                    return anyhow::Ok(());
                }
            }
        };
        match tokio::time::timeout(BOOT_LIMIT, hello).await {
            Ok(said) => said.with_context(|| self.console()),
            Err(_) => bail!("not up within {BOOT_LIMIT:?}\n{}", self.console()),
        }
    }

    fn console(&self) -> String {
        format!("{}\n{}", tail(self.machine.log(), 5), tail(&self.console, 20))
    }

    /// Ends the machine and removes its Node.
    pub async fn remove(&self) -> Result<()> {
        self.machine.kill().await?;
        self.cluster.network().detach(self.place);
        self.cluster.client().delete(&format!("/api/v1/nodes/{}", self.name)).await
    }
}

/// A disk with the payload's files, labelled as the machine's `/etc/fstab` looks for it.
async fn payload_disk(directory: &Path, payload: &[(&str, PathBuf)]) -> Result<PathBuf> {
    let (files, disk) = (directory.join("payload"), directory.join("payload.img"));
    fs::create_dir_all(&files)?;
    let mut bytes = PAYLOAD_SLACK;
    for (name, source) in payload {
        let copied = fs::copy(source, files.join(name));
        bytes += copied.with_context(|| format!("cannot copy {}", source.display()))?;
    }
    let mut command = std::process::Command::new("mkfs.ext4");
    command.args(["-q", "-m", "0", "-L", "payload", "-E", "root_owner=0:0", "-d"]);
    command.arg(&files).arg(&disk).arg(format!("{}k", bytes / 1024));
    tokio::task::spawn_blocking(move || output(&mut command)).await??;
    fs::remove_dir_all(&files)?;
    Ok(disk)
}

fn arguments(ground: &Path, payload: &Path, name: &str) -> Vec<String> {
    let file = |name: &str| ground.join(name).display().to_string();
    // Writes to the first disk go to a nameless file; the second takes none.
    let disks = [
        format!("file={},if=virtio,format=raw,snapshot=on,cache=unsafe", file("disk.img")),
        format!("file={},if=virtio,format=raw,readonly=on", payload.display()),
    ];
    let mut arguments: Vec<String> = ["-name", name, "-accel", "tcg,thread=multi", "-cpu", "max"]
        .into_iter()
        .chain(["-smp", "2", "-m", "2048", "-nodefaults", "-display", "none", "-monitor", "none"])
        .chain(["-device", "virtio-rng-pci", "-device", "virtio-net-pci,netdev=net"])
        .chain(["-device", "virtio-serial-pci"])
        .chain(["-device", "virtserialport,chardev=harness,name=harness"])
        .map(str::to_owned)
        .collect();
    for disk in disks {
        arguments.extend(["-drive".to_owned(), disk]);
    }
    arguments.extend(["-kernel".to_owned(), file("vmlinuz")]);
    arguments.extend(["-initrd".to_owned(), file("initrd.img")]);
    arguments
}

/// A starved emulator loses timer ticks, which the kernel must not take for broken hardware.
fn kernel_line(name: &str, address: Ipv4Addr) -> String {
    format!(
        "root=/dev/vda rw console=ttyS0 quiet audit=0 no_timer_check systemd.hostname={name} \
         ip={address}::{CONTROL_PLANE}:255.255.255.0:{name}:eth0:off"
    )
}

fn chardev(socket: &Path) -> String {
    format!("socket,id=harness,path={},server=on,wait=off", socket.display())
}

fn netdev(tap: &str) -> String {
    format!("tap,id=net,ifname={tap},script=no,downscript=no")
}

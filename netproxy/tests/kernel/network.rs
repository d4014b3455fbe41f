//! A node with three pods, each in a namespace of its own.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

/// Longest wait for an answer of a pod.
const ANSWER: Duration = Duration::from_secs(5);

fn new_namespace() {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        panic!("this test needs root to make a network namespace: {error}");
    }
    run("ip", &["link", "set", "lo", "up"]);
}

/// Runs a test in a network namespace of its own. Its child processes and the threads it starts
/// are in there too.
pub fn in_namespace(test: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        new_namespace();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What a command prints; a failure of it is one of the test.
pub fn run(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

type Work = Box<dyn FnOnce() + Send>;

/// A pod: a namespace, kept by a thread that works in it.
pub struct Pod {
    name: &'static str,
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// A UDP socket in a pod.
pub struct PodSocket<'a> {
    pod: &'a Pod,
    socket: UdpSocket,
}

/// The node, which is the namespace of the test, and its pods.
pub struct Network {
    pods: Vec<Pod>,
}

impl Network {
    /// Pods `client`, `a` and `b` at 10.0.N.2 and fd00:10::N:2, the node at 10.0.N.1 and
    /// fd00:10::N:1 beside each. `a` and `b` answer on port 8080 with their name and the address
    /// they see.
    pub fn build() -> Self {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        let pods = [("client", 1), ("a", 2), ("b", 3)].map(|(name, number)| {
            let pod = Pod::start(name, number);
            if name != "client" {
                pod.serve();
            }
            pod
        });
        // Service addresses need some route to reach the FORWARD hook at all.
        run("ip", &["route", "add", "default", "via", "10.0.3.2"]);
        run("ip", &["-6", "route", "add", "default", "via", "fd00:10::3:2"]);
        Self { pods: pods.into() }
    }

    pub fn pod(&self, name: &str) -> &Pod {
        self.pods.iter().find(|pod| pod.name == name).unwrap()
    }
}

impl Pod {
    fn start(name: &'static str, number: u8) -> Self {
        let (work, queue) = channel::<Work>();
        let (ready, started) = channel();
        let thread = std::thread::spawn(move || {
            new_namespace();
            ready.send(nix::unistd::gettid()).unwrap();
            for work in queue {
                work();
            }
        });
        let owner = started.recv().unwrap().to_string();
        let pod = Self { name, work: Some(work), thread: Some(thread) };
        let outside = format!("veth{number}");
        run(
            "ip",
            &["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &owner],
        );
        let add = move |device: &str, side: u8| {
            run("ip", &["address", "add", &format!("10.0.{number}.{side}/24"), "dev", device]);
            let v6 = format!("fd00:10::{number}:{side}/112");
            run("ip", &["address", "add", &v6, "dev", device, "nodad"]);
            run("ip", &["link", "set", device, "up"]);
        };
        add(&outside, 1);
        pod.inside(move || {
            add("eth0", 2);
            run("ip", &["route", "add", "default", "via", &format!("10.0.{number}.1")]);
            let v6 = format!("fd00:10::{number}:1");
            run("ip", &["-6", "route", "add", "default", "via", &v6]);
        });
        pod
    }

    /// Runs `work` in the pod.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, outcome) = channel();
        let work: Work = Box::new(move || {
            let _ = done.send(work());
        });
        self.work.as_ref().unwrap().send(work).unwrap();
        outcome.recv().expect("the work in the pod panicked")
    }

    /// Answers on TCP and UDP port 8080 as long as the test runs. The threads end when the
    /// process does; their sockets keep the namespace until then.
    fn serve(&self) {
        let name = self.name;
        let (tcp, udp) = self.inside(|| {
            let udp = UdpSocket::bind("[::]:8080").unwrap();
            (TcpListener::bind("[::]:8080").unwrap(), udp)
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let mut stream = stream;
                let text = format!("{name} {}", seen(stream.peer_addr().unwrap()));
                let _ = stream.write_all(text.as_bytes());
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(format!("{name} {}", seen(from)).as_bytes(), from);
            }
        });
    }

    /// What a server says to this pod over TCP.
    pub fn ask_tcp(&self, to: SocketAddr) -> Result<String, io::ErrorKind> {
        self.inside(move || {
            let mut stream = TcpStream::connect_timeout(&to, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
        .map_err(|error: io::Error| error.kind())
    }

    /// A socket that sends from the same port each time.
    pub fn udp_socket(&self) -> PodSocket<'_> {
        let socket = self.inside(|| UdpSocket::bind("0.0.0.0:4000").unwrap());
        socket.set_read_timeout(Some(ANSWER)).unwrap();
        PodSocket { pod: self, socket }
    }
}

impl PodSocket<'_> {
    /// What a server says to this socket.
    pub fn ask(&self, to: SocketAddr) -> Result<String, io::ErrorKind> {
        let socket = self.socket.try_clone().unwrap();
        self.pod
            .inside(move || {
                // Connected, so that a rejection is told to the socket.
                socket.connect(to)?;
                socket.send(b"?")?;
                let mut buffer = [0; 64];
                let length = socket.recv(&mut buffer)?;
                Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
            })
            .map_err(|error: io::Error| error.kind())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.work = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn seen(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

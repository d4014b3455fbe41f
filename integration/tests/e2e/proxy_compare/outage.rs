//! Endpoints that change while the API server goes away and comes back.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::TestContext;
use integration::namespaces::Namespaces;
use integration::proxy_host::{Flavour, ProxyHost, ProxyKind, ProxySettings};
use integration::runner::Test;
use integration::wait::{self, Look};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::catalogue::{Entry, NODE, remote};
use super::{AGREE, Fixture, read};

/// Address of the outsider, who answers for the Service that nobody changes.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 250);
/// Services whose endpoints change.
const CHANGING: u8 = 20;
/// How long the API server stays away: several times as long as a change of rules takes.
const OUTAGE: Duration = Duration::from_secs(3);
/// How long a new connection may take. A first packet that was lost is sent again after a second.
const CONNECT: Duration = Duration::from_millis(900);

pub fn tests() -> Vec<Test> {
    integration::tests![
        ; alone: changes_around_an_absence_of_the_api_server_end_in_the_right_rules,
    ]
}

/// New connections to a Service, one after the other, until it is stopped.
struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Traffic {
    fn start(namespaces: &Arc<Namespaces>, address: SocketAddr) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (namespaces, stopped, count) =
            (Arc::clone(namespaces), Arc::clone(&stop), Arc::clone(&answered));
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                TcpStream::connect_timeout(&address, CONNECT).with_context(|| {
                    let after = stopped_after(count.load(Ordering::Relaxed));
                    format!("connection to {address}, {after}\n{}", evidence(address))
                })?;
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
            Ok(())
        };
        let thread = thread::spawn(move || namespaces.run(work));
        Self { stop, answered, thread }
    }

    /// How many were answered; the error of the first that was not.
    fn end(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(outcome) => outcome.map(|()| self.answered.load(Ordering::Relaxed)),
            Err(_) => Err(anyhow::anyhow!("the thread with the connections panicked")),
        }
    }
}

/// Waits until the rules lead packets to the Service. Chains of many services are built before
/// anything leads to them, so those of a mark say not that packets get anywhere. No connection is
/// tried before: the kernel would remember it without a rule, and let a later one from the same port
/// go the same way.
async fn way_in(host: &ProxyHost, address: SocketAddr) -> Result<()> {
    let address = address.ip();
    let way = match host.settings().config["mode"].as_str() {
        Some("nftables") => address.to_string(),
        _ => format!("-A KUBE-SERVICES -d {address}/32 "),
    };
    wait::until("a way to the service", AGREE, || async {
        let text = dump(host).await?;
        Ok(if text.contains(&way) { Look::Met(()) } else { Look::NotYet(way.clone()) })
    })
    .await
    .with_context(|| host.tail(15))
}

fn stopped_after(answered: usize) -> String {
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let at = at.unwrap_or_default().as_secs_f64() % 86_400.0;
    format!("after {answered} that were answered, {at:.3} s into the day")
}

/// What this namespace knows about the way to an address, for somebody who asks why one failed.
fn evidence(address: SocketAddr) -> String {
    let address = address.ip().to_string();
    let looks: [(&str, &[&str]); 3] = [
        ("ip", &["route", "get", &address]),
        ("iptables-save", &["-t", "nat"]),
        ("conntrack", &["-L", "-d", &address]),
    ];
    let mut text = String::new();
    for (tool, args) in looks {
        let found = std::process::Command::new(tool).args(args).output();
        let found = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        // Of connections, only those that no rule changed tell anything.
        let lines = found.unwrap_or_else(|error| error.to_string());
        let lines = lines.lines().filter(|line| match tool {
            "conntrack" => line.matches(&*address).count() > 1,
            "iptables-save" => line.contains(&*address) || line.starts_with("-A OUTPUT"),
            _ => true,
        });
        text += &format!("{tool}: {}\n", lines.collect::<Vec<_>>().join("\n"));
    }
    text
}

/// A server in a namespace on a free port, which is returned.
fn serve(namespaces: &Arc<Namespaces>) -> Result<u16> {
    let listener = namespaces.run(|| Ok(TcpListener::bind((OUTSIDE, 0))?))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"."));
        }
    });
    Ok(port)
}

fn host(fixture: &Fixture, kind: ProxyKind, mode: &str) -> Result<ProxyHost> {
    let settings = ProxySettings {
        kind,
        node: NODE.to_owned(),
        flavour: Flavour::Nft,
        config: json!({"mode": mode, "iptables": {"minSyncPeriod": "100ms"}}),
        addresses: Vec::new(),
    };
    let name = format!("outage-{mode}-{}", kind.name());
    let host = ProxyHost::prepare(&fixture.cluster, &name, settings)?;
    host.start()?;
    Ok(host)
}

fn changing(number: u8) -> String {
    format!("changing-{number}")
}

/// Endpoints that differ with each round.
fn endpoints(number: u8, round: u8) -> Vec<Value> {
    vec![
        remote(&format!("10.244.150.{number}")),
        remote(&format!("10.244.{}.{number}", 151 + round)),
    ]
}

async fn changes_around_an_absence_of_the_api_server_end_in_the_right_rules(
    context: Arc<TestContext>,
) -> Result<()> {
    let mut fixture = Fixture::new(&context).await?;
    let cluster = Arc::clone(&fixture.cluster);
    let port = serve(cluster.network().outside())?;
    let untouched = Entry::new("untouched", json!({})).behind(port, vec![remote("172.30.0.250")]);
    fixture.create(vec![untouched]).await?;
    let entry =
        |number| Entry::new(&changing(number), json!({})).behind(8080, endpoints(number, 0));
    fixture.create((0..CHANGING).map(entry).collect()).await?;
    let hosts = [
        host(&fixture, ProxyKind::Noded, "iptables")?,
        host(&fixture, ProxyKind::Noded, "nftables")?,
    ];
    let mark = fixture.mark().await?;
    for host in &hosts {
        expect_rules(host, &[&mark], &[]).await?;
    }
    let service = cluster.get_json(&fixture.service("untouched")).await?;
    let address = service["spec"]["clusterIP"].as_str().context("no address")?.parse()?;
    let address = SocketAddr::new(address, 80);
    for host in &hosts {
        way_in(host, address).await?;
    }
    let traffic = hosts.each_ref().map(|host| Traffic::start(host.namespaces(), address));

    // The API server goes while endpoints change.
    let changes = async {
        for round in 1..4 {
            for number in 0..CHANGING {
                // It fails once the server is gone.
                let _ = fixture.set_endpoints(&changing(number), endpoints(number, round)).await;
            }
        }
    };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.stop_api_server().await
    };
    let ((), stopped) = tokio::join!(changes, stop);
    stopped?;
    // Whatever was on its way has arrived after this; then rules must not move.
    tokio::time::sleep(OUTAGE).await;
    let before = dump(&hosts[0]).await?;
    let deadline = std::time::Instant::now() + OUTAGE;
    while std::time::Instant::now() < deadline {
        ensure!(dump(&hosts[0]).await? == before, "rules changed while the API server was away");
    }

    // What happens now neither proxy is told by its watches: it has to be found in a new list.
    hosts.iter().for_each(|host| host.signal(Signal::SIGSTOP));
    cluster.start_api_server().await?;
    let client = cluster.client();
    client.delete(&fixture.service(&changing(0))).await?;
    client.delete(&fixture.slice(&changing(1))).await?;
    fixture.set_endpoints(&changing(2), endpoints(2, 9)).await?;
    hosts.iter().for_each(|host| host.signal(Signal::SIGCONT));
    let mark = fixture.mark().await?;
    for host in &hosts {
        expect_rules(host, &[&mark, "10.244.160.2"], &["10.244.150.0", "10.244.150.1"]).await?;
    }
    let wanted = host(&fixture, ProxyKind::KubeProxy, "iptables")?;
    wait::until("rules of a kube-proxy that was not there before", AGREE, || async {
        let mut found = String::new();
        for tool in ["iptables-save", "ip6tables-save"] {
            found += &read(&wanted, tool).await?.differences(&read(&hosts[0], tool).await?);
        }
        Ok(if found.is_empty() { Look::Met(()) } else { Look::NotYet(found) })
    })
    .await?;
    for ((traffic, what), host) in traffic.into_iter().zip(["iptables", "nftables"]).zip(&hosts) {
        let answered = traffic.end().with_context(|| format!("{what}\n{}", host.tail(40)))?;
        ensure!(answered > 100, "{what}: only {answered} connections");
    }
    fixture.end().await
}

/// The rules of a host in its own mode, with everything a person would see.
async fn dump(host: &ProxyHost) -> Result<String> {
    match host.settings().config["mode"].as_str() {
        Some("nftables") => host.output("nft", &["-s", "list", "table", "ip", "kube-proxy"]).await,
        _ => host.output("iptables-save", &["-t", "nat"]).await.map(without_counters),
    }
}

/// The saved rules without the lines that hold counters and times.
fn without_counters(text: String) -> String {
    text.lines().filter(|line| line.starts_with("-A ")).collect::<Vec<_>>().join("\n")
}

/// Waits until the rules contain some words and not others.
async fn expect_rules(host: &ProxyHost, wanted: &[&str], unwanted: &[&str]) -> Result<()> {
    wait::until("rules after the changes", AGREE, || async {
        host.expect_running()?;
        let text = dump(host).await?;
        let has = |word: &&&str| {
            text.split(|letter: char| !letter.is_ascii_digit() && letter != '.')
                .any(|found| found == **word)
        };
        let missing: Vec<_> = wanted.iter().filter(|word| !has(word)).collect();
        let left: Vec<_> = unwanted.iter().filter(|word| has(word)).collect();
        Ok(match missing.is_empty() && left.is_empty() {
            true => Look::Met(()),
            false => Look::NotYet(format!("missing {missing:?}, left {left:?}")),
        })
    })
    .await
    .with_context(|| host.tail(15))
}

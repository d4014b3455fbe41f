//! One proxy on a host of its own, measured from its start to its end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use integration::console::print;
use integration::proxy_host::{ProxyHost, ProxyKind, ProxySettings};
use integration::real_cluster::Cluster;

use super::fixture::Fixture;
use super::options::{Mode, Shape};
use super::probe;
use super::rules::{self, RuleWatch};
use crate::usage;

/// A proxy that has not written its rules in this time has failed.
const LIMIT: Duration = Duration::from_secs(400);
/// How often an endpoint is changed and a Service added.
const CHANGES: usize = 5;
/// How long a proxy is left alone before it is changed or measured: longer than kube-proxy's
/// least time between two syncs (1 s, v1.36), so that no change waits for that.
const REST: Duration = Duration::from_secs(3);
/// New connections that are timed.
const CONNECTIONS: usize = 2000;

/// Everything measured of one proxy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// From the start of the process to the first answer through the Service made last, once all
    /// rules are known to be there, seconds.
    pub cold: f64,
    /// Of that the time in which rules were written, as the proxy's metrics have it, seconds.
    pub syncing: Option<f64>,
    /// From the start of the process with rules in place to a rule that changed meanwhile.
    pub restart: f64,
    /// From the watch event of a slice to the rule, median, milliseconds.
    pub change: f64,
    /// From the creation of a Service, whose slice is there, to its first answer, median,
    /// milliseconds.
    pub addition: f64,
    /// Resident memory after all changes, MiB.
    pub settled: f64,
    /// The most resident memory ever, MiB.
    pub peak: f64,
    /// CPU time of an idle minute, its child processes included, seconds.
    pub idle: f64,
    /// New connections to the Service, p50 and p99, microseconds.
    pub connection: (f64, f64),
    /// New connections to an address of no Service, p50 and p99, microseconds.
    pub past: (f64, f64),
}

/// A proxy to be measured.
pub struct Subject {
    host: Arc<ProxyHost>,
    mode: Mode,
    shape: Shape,
    cluster: Arc<Cluster>,
}

impl Subject {
    /// A host for the proxy, which does not run yet.
    pub fn prepare(
        cluster: &Arc<Cluster>,
        kind: ProxyKind,
        mode: Mode,
        shape: Shape,
    ) -> Result<Self> {
        let name = format!("{}-{}-{}", kind.name(), mode.name(), shape.name().replace(" × ", "x"));
        let settings = ProxySettings {
            kind,
            node: super::NODE.to_owned(),
            flavour: mode.flavour(),
            config: mode.config(),
            addresses: Vec::new(),
        };
        let host = Arc::new(ProxyHost::prepare(cluster, &name, settings)?);
        probe::route(host.namespaces(), super::OUTSIDE.into())?;
        Ok(Self { host, mode, shape, cluster: Arc::clone(cluster) })
    }

    /// Its host.
    pub fn host(&self) -> &ProxyHost {
        &self.host
    }

    /// Resident memory of the proxy with nothing but the cluster's own Service, MiB.
    pub async fn empty_memory(&self) -> Result<f64> {
        self.host.start()?;
        tokio::time::sleep(2 * REST).await;
        let memory = usage::of(&[self.host.id()?])?.rss;
        self.host.stop().await?;
        Ok(memory)
    }

    /// Starts the proxy and measures everything; `idle` is how long it is watched idle.
    pub async fn measure(&self, fixture: &mut Fixture, idle: Duration) -> Result<Figures> {
        let mut figures = Figures { cold: self.cold(fixture).await?, ..Figures::default() };
        tokio::time::sleep(REST).await;
        figures.syncing = self.syncing().await;
        self.say(&format!("cold {:.2} s", figures.cold));
        figures.connection = self.connections(Fixture::probe_address()).await?;
        let past = SocketAddr::new(super::OUTSIDE.into(), super::fixture::TARGET_PORT);
        figures.past = self.connections(past).await?;
        figures.change = self.changes(fixture).await?;
        self.say(&format!("one endpoint changed {:.0} ms", figures.change));
        figures.addition = self.additions(fixture).await?;
        self.say(&format!("one service added {:.0} ms", figures.addition));
        tokio::time::sleep(REST).await;
        let id = self.host.id()?;
        figures.settled = usage::of(&[id])?.rss;
        figures.peak = usage::peak_memory(&[id])?;
        let before = usage::cpu_with_children(id)?;
        tokio::time::sleep(idle).await;
        let minutes = idle.as_secs_f64() / 60.0;
        figures.idle = (usage::cpu_with_children(id)? - before) / minutes;
        figures.restart = self.restart(fixture).await?;
        self.say(&format!("restart {:.2} s", figures.restart));
        Ok(figures)
    }

    fn say(&self, text: &str) {
        let kind = self.host.settings().kind.name();
        let shape = self.shape.name();
        print(&format!("bench: {shape}, {}, {kind}: {text}\n", self.mode.name()));
    }

    async fn cold(&self, fixture: &Fixture) -> Result<f64> {
        let began = Instant::now();
        self.host.start()?;
        let probe = Fixture::probe_address();
        let answered = probe::until_answer(self.host.namespaces(), probe, None, LIMIT).await?;
        let first_look = Instant::now();
        let limit = Duration::from_secs(60) + (answered - began);
        rules::complete(&self.host, self.mode, &fixture.addresses(), limit).await?;
        let look = first_look.elapsed();
        // One look takes a second or so; only a second one would mean that rules came after the
        // answer.
        let late = look > Duration::from_secs(5);
        let end = if late { Instant::now() } else { answered };
        Ok((end - began).as_secs_f64())
    }

    /// Time in which rules were written since the start, from the metrics.
    async fn syncing(&self) -> Option<f64> {
        let address = "127.0.0.1:10249".parse().ok()?;
        let place = Some(self.host.namespaces());
        let limit = Duration::from_secs(5);
        let answer = integration::traffic::http_get(place, address, "/metrics", limit).await;
        let (_, text) = answer.ok()?;
        let sums = text
            .lines()
            .filter(|line| line.starts_with("kubeproxy_sync_proxy_rules_duration_seconds_sum"));
        let sums: Vec<f64> =
            sums.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        (!sums.is_empty()).then(|| sums.iter().sum())
    }

    async fn connections(&self, address: SocketAddr) -> Result<(f64, f64)> {
        let times = probe::connection_times(self.host.namespaces(), address, CONNECTIONS).await?;
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
        Ok((at(50), at(99)))
    }

    /// Waits for the rule of an endpoint; see [`RuleWatch`] for the shape in which connections
    /// would find it too seldom.
    async fn follow(&self, watch: Option<RuleWatch>, endpoint: Ipv4Addr) -> Result<Instant> {
        match watch {
            Some(watch) => watch.appeared(LIMIT).await,
            None => {
                let (place, probe) = (self.host.namespaces(), Fixture::probe_address());
                probe::until_answer(place, probe, Some(endpoint), LIMIT).await
            }
        }
    }

    fn rule_watch(&self, endpoint: Ipv4Addr) -> Result<Option<RuleWatch>> {
        match self.shape {
            Shape::Services(_) => Ok(None),
            Shape::Endpoints(_) => RuleWatch::new(&self.host, self.mode, endpoint).map(Some),
        }
    }

    async fn changes(&self, fixture: &mut Fixture) -> Result<f64> {
        let mut events = self.cluster.watch(&Fixture::probe_watch()).await?;
        events.next(LIMIT).await?;
        let mut times = Vec::new();
        for _ in 0..CHANGES {
            tokio::time::sleep(REST).await;
            let endpoint = fixture.next_endpoint();
            let watch = self.rule_watch(endpoint)?;
            let (changed, live) =
                tokio::join!(fixture.change_endpoint(), self.follow(watch, endpoint));
            changed?;
            let event = events.next(LIMIT).await?;
            times.push(live?.saturating_duration_since(event.at));
        }
        Ok(median(times))
    }

    async fn additions(&self, fixture: &mut Fixture) -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..CHANGES {
            fixture.prepare_service().await?;
            tokio::time::sleep(REST).await;
            let (address, created) = fixture.add_service().await?;
            let live = probe::until_answer(self.host.namespaces(), address, None, LIMIT).await?;
            times.push(live.saturating_duration_since(created));
        }
        fixture.remove_added().await?;
        Ok(median(times))
    }

    async fn restart(&self, fixture: &mut Fixture) -> Result<f64> {
        self.host.stop().await?;
        let endpoint = fixture.next_endpoint();
        let watch = self.rule_watch(endpoint)?;
        fixture.change_endpoint().await?;
        let began = Instant::now();
        self.host.start()?;
        let live = self.follow(watch, endpoint).await?;
        Ok((live - began).as_secs_f64())
    }
}

/// The middle one, milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

//! Pure. What of the proxies is measured, from the command line.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::proxy_host::{Flavour, ProxyKind};
use serde_json::{Value, json};

/// What a proxy writes its rules with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Iptables(Flavour),
    Nftables,
}

impl Mode {
    /// All, in the order of the tables.
    pub const ALL: [Self; 3] =
        [Self::Iptables(Flavour::Legacy), Self::Iptables(Flavour::Nft), Self::Nftables];

    /// Name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iptables(Flavour::Legacy) => "iptables-legacy",
            Self::Iptables(Flavour::Nft) => "iptables-nft",
            Self::Nftables => "nftables",
        }
    }

    /// The fields of `KubeProxyConfiguration` that choose it.
    pub fn config(self) -> Value {
        match self {
            Self::Iptables(_) => json!({"mode": "iptables"}),
            Self::Nftables => json!({"mode": "nftables"}),
        }
    }

    /// Which iptables is found in this mode; without meaning for nftables.
    pub fn flavour(self) -> Flavour {
        match self {
            Self::Iptables(flavour) => flavour,
            Self::Nftables => Flavour::Nft,
        }
    }
}

/// The objects of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// One Service with so many endpoints.
    Endpoints(usize),
    /// So many Services with two endpoints each.
    Services(usize),
}

impl Shape {
    /// Name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Services(count) => format!("{count} × 2"),
            Self::Endpoints(count) => format!("1 × {count}"),
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// In the order in which the objects are made.
    pub shapes: Vec<Shape>,
    pub modes: Vec<Mode>,
    pub kinds: Vec<ProxyKind>,
    /// How long an idle proxy is measured.
    pub idle: Duration,
    /// Whether the plain tools are timed with the same rules.
    pub baselines: bool,
}

impl Default for Options {
    /// The whole measurement.
    fn default() -> Self {
        let services = [1000, 5000, 10_000].map(Shape::Services);
        Self {
            shapes: [Shape::Endpoints(5000)].into_iter().chain(services).collect(),
            modes: Mode::ALL.to_vec(),
            kinds: vec![ProxyKind::Noded, ProxyKind::KubeProxy],
            idle: Duration::from_secs(60),
            baselines: true,
        }
    }
}

impl Options {
    /// Reads the arguments after `proxy`; see `scripts/bench`. Lists are separated by commas.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut shapes = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut list = || {
                let value = rest.next().with_context(|| format!("{argument} needs a value"))?;
                anyhow::Ok(value.split(','))
            };
            match argument.as_str() {
                "--services" => shapes.extend(numbers(list()?)?.into_iter().map(Shape::Services)),
                "--endpoints" => shapes.extend(numbers(list()?)?.into_iter().map(Shape::Endpoints)),
                "--mode" => options.modes = list()?.map(mode).collect::<Result<_>>()?,
                "--who" => options.kinds = list()?.map(kind).collect::<Result<_>>()?,
                "--idle" => {
                    let seconds = numbers(list()?)?.first().copied().unwrap_or_default();
                    options.idle = Duration::from_secs(seconds as u64);
                }
                "--no-baselines" => options.baselines = false,
                "--quick" => {
                    options.shapes = vec![Shape::Services(1000)];
                    options.idle = Duration::from_secs(10);
                }
                other => bail!("unknown argument {other}"),
            }
        }
        if !shapes.is_empty() {
            options.shapes = shapes;
        }
        // Objects are only added between the shapes of many Services.
        options.shapes.sort_unstable();
        options.shapes.dedup();
        ensure!(!options.modes.is_empty() && !options.kinds.is_empty(), "nothing to measure");
        Ok(options)
    }
}

fn numbers<'a>(list: impl Iterator<Item = &'a str>) -> Result<Vec<usize>> {
    list.map(|text| text.parse().with_context(|| format!("{text} is no number"))).collect()
}

fn mode(name: &str) -> Result<Mode> {
    let known = Mode::ALL.into_iter().find(|mode| mode.name() == name);
    known.with_context(|| format!("{name} is none of iptables-legacy, iptables-nft, nftables"))
}

fn kind(name: &str) -> Result<ProxyKind> {
    let known =
        [ProxyKind::Noded, ProxyKind::KubeProxy].into_iter().find(|kind| kind.name() == name);
    known.with_context(|| format!("{name} is neither noded nor kube-proxy"))
}

#[cfg(test)]
mod tests;

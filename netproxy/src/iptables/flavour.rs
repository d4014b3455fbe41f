//! Which flavour of iptables this machine uses.
//!
//! **What.** Chooses one flavour for all commands of a run, the way upstream's iptables-wrappers
//! do, and tells whether the other one holds rules of Kubernetes.
//! **Owns.** Nothing.
//! **Reads.** Dumps of both flavours; the list of loaded legacy tables, so that looking at them
//! loads none.
//! **Writes.** Nothing.
//! **Invariants.** The flavour that the kubelet used wins; then one with rules of this proxy; then
//! what `iptables` is.
//! **Source.** `kubernetes-sigs/iptables-wrappers`, v3.

use tracing::warn;

use super::boundary::{Flavour, Iptables, IptablesError, Version};
use super::command::{IptablesCommand, Spelling};
use crate::config::IpFamily;
use crate::rules::chains::CANARY;

/// Chains by which the kubelet tells its flavour.
const HINTS: [&str; 2] = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];

/// What was chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The flavour to use.
    pub flavour: Flavour,
    /// Rules of Kubernetes in the other one.
    pub other: Option<OtherFlavour>,
    spelling: Spelling,
    version: Option<Version>,
}

/// The flavour that is not used holds chains of Kubernetes. The kernel applies them as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherFlavour {
    /// The flavour in use.
    pub ours: Flavour,
    /// The flavour with chains beside.
    pub theirs: Flavour,
    /// How many, of both families.
    pub chains: usize,
}

/// What one flavour tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sighting {
    hint: bool,
    canary: bool,
    /// Chains of Kubernetes in all tables, where they were counted.
    chains: usize,
}

impl Choice {
    /// The commands of that family.
    pub fn command(&self, family: IpFamily) -> IptablesCommand {
        let command = IptablesCommand::new(family, self.flavour).spelled(self.spelling);
        match self.version {
            Some(version) => command.of_version(version),
            None => command,
        }
    }
}

/// Finds out which flavour to use. Fails when there is no iptables.
pub async fn detect() -> Result<Choice, IptablesError> {
    let plain = IptablesCommand::new(IpFamily::V4, Flavour::Nft).spelled(Spelling::Plain);
    let plain_line = plain.version_line().await;
    let mut lines = Vec::new();
    for flavour in Flavour::ALL {
        if let Ok(line) = IptablesCommand::new(IpFamily::V4, flavour).version_line().await {
            lines.push((flavour, line));
        }
    }
    let [first, ..] = lines.as_slice() else {
        // Without explicit names there is only one flavour.
        let line = plain_line?;
        return Ok(Choice {
            flavour: Flavour::from_line(&line),
            other: None,
            spelling: Spelling::Plain,
            version: Version::from_line(&line),
        });
    };
    let default = plain_line.map_or(first.0, |line| Flavour::from_line(&line));
    let mut sightings = Vec::new();
    for (flavour, _) in &lines {
        sightings.push((*flavour, look(*flavour).await));
    }
    // Dumps of whole flavours are large, so they are left for when the small table says nothing.
    if !sightings.iter().any(|(_, seen)| seen.hint || seen.canary) {
        for (flavour, seen) in &mut sightings {
            seen.chains = count_chains(*flavour).await;
        }
    }
    let flavour = choose(default, &sightings);
    let mut other = None;
    for (theirs, _) in lines.iter().filter(|(theirs, _)| *theirs != flavour) {
        let chains = count_chains(*theirs).await;
        other = (chains > 0).then_some(OtherFlavour { ours: flavour, theirs: *theirs, chains });
    }
    if let Some(OtherFlavour { ours, theirs, chains }) = other {
        warn!(%ours, %theirs, chains, "the other flavour of iptables has chains of Kubernetes, which apply as well");
    }
    let line = lines.iter().find(|(known, _)| *known == flavour).map(|(_, line)| line);
    Ok(Choice {
        flavour,
        other,
        spelling: Spelling::Explicit,
        version: line.and_then(|line| Version::from_line(line)),
    })
}

/// Whether there may be tables of that flavour. Looking at those of legacy iptables would make
/// them, so they are asked for where they are listed.
pub(crate) async fn in_use(flavour: Flavour, family: IpFamily) -> bool {
    let Flavour::Legacy = flavour else { return true };
    let tables = match family {
        IpFamily::V4 => "/proc/thread-self/net/ip_tables_names",
        IpFamily::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    let loaded = tokio::fs::read_to_string(tables).await.unwrap_or_default();
    !loaded.trim().is_empty()
}

/// What the mangle tables of both families tell. What cannot be read counts as not there.
async fn look(flavour: Flavour) -> Sighting {
    let mut seen = Sighting::default();
    for command in commands(flavour).await {
        seen.add(&command.save_mangle().await.unwrap_or_default());
    }
    seen
}

/// How many chains of Kubernetes there are in all tables of both families.
async fn count_chains(flavour: Flavour) -> usize {
    let mut count = 0;
    for command in commands(flavour).await {
        let mut take = |line: &str| {
            count += usize::from(chain(line).is_some_and(|name| name.starts_with("KUBE-")));
        };
        // What cannot be read counts as not there.
        let _ = command.save_lines(&mut take).await;
    }
    count
}

/// The commands of those families in which a look at the flavour loads no tables.
async fn commands(flavour: Flavour) -> Vec<IptablesCommand> {
    let mut commands = Vec::new();
    for family in [IpFamily::V4, IpFamily::V6] {
        if in_use(flavour, family).await {
            commands.push(IptablesCommand::new(family, flavour));
        }
    }
    commands
}

impl Sighting {
    fn add(&mut self, mangle: &str) {
        let chains = || mangle.lines().filter_map(chain);
        self.hint |= chains().any(|name| HINTS.contains(&name));
        self.canary |= chains().any(|name| name == CANARY);
    }
}

/// The chain that a line of a dump declares.
fn chain(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split_whitespace().next()
}

/// The flavour to use; the first one wins where several have the same claim.
fn choose(default: Flavour, sightings: &[(Flavour, Sighting)]) -> Flavour {
    let find = |claim: fn(&Sighting) -> bool| {
        sightings.iter().find(|(_, seen)| claim(seen)).map(|(flavour, _)| *flavour)
    };
    let known = |flavour: Flavour| sightings.iter().any(|(known, _)| *known == flavour);
    find(|seen| seen.hint)
        .or_else(|| find(|seen| seen.canary))
        .or_else(|| find(|seen| seen.chains > 0))
        .or_else(|| Some(default).filter(|default| known(*default)))
        .or_else(|| sightings.first().map(|(flavour, _)| *flavour))
        .unwrap_or(default)
}

#[cfg(test)]
mod tests;

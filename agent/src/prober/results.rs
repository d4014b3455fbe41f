//! Pure. What the probes of a pod's containers have found.

use std::collections::HashMap;

use crate::model::{Container, ContainerId};

/// The three kinds of probe. Text as in events and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    /// `Startup`, `Readiness` or `Liveness`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// What one probe has found, after its thresholds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeResult {
    /// Nothing yet, or nothing that counts.
    #[default]
    Unknown,
    Success,
    Failure,
}

/// The results of one instance of a container. `None` stands for a probe that its spec lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerProbes {
    pub id: ContainerId,
    pub startup: Option<ProbeResult>,
    pub readiness: Option<ProbeResult>,
    pub liveness: Option<ProbeResult>,
}

impl ContainerProbes {
    /// The result of the probe of that kind; `None` when the spec lacks it.
    pub fn of_kind(&self, kind: ProbeKind) -> Option<ProbeResult> {
        match kind {
            ProbeKind::Startup => self.startup,
            ProbeKind::Readiness => self.readiness,
            ProbeKind::Liveness => self.liveness,
        }
    }

    pub(super) fn set(&mut self, kind: ProbeKind, result: ProbeResult) {
        let slot = match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Readiness => &mut self.readiness,
            ProbeKind::Liveness => &mut self.liveness,
        };
        *slot = Some(result);
    }
}

/// The results of a pod's containers, by container name, each of its newest instance: also of one
/// that has ended, until it has a successor. A container without any probe is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodProbes(pub HashMap<String, ContainerProbes>);

impl PodProbes {
    /// The results of this very instance; `None` when it is not probed.
    pub fn of(&self, container: &Container) -> Option<&ContainerProbes> {
        self.0.get(&container.name).filter(|probes| probes.id == container.id)
    }

    /// Whether a running instance counts as started: its startup probe has succeeded, or it has
    /// none.
    pub fn has_started(&self, container: &Container) -> bool {
        let startup = self.of(container).and_then(|probes| probes.startup);
        container.is_running() && startup.is_none_or(|result| result == ProbeResult::Success)
    }

    /// Whether a running instance is ready: it has started, and its readiness probe, if it has
    /// one, has succeeded.
    pub fn is_ready(&self, container: &Container) -> bool {
        let readiness = self.of(container).and_then(|probes| probes.readiness);
        self.has_started(container) && readiness.is_none_or(|result| result == ProbeResult::Success)
    }

    /// The probe whose failure asks for the end of this instance.
    pub fn fatal(&self, container: &Container) -> Option<ProbeKind> {
        let probes = self.of(container)?;
        let kinds = [(ProbeKind::Startup, probes.startup), (ProbeKind::Liveness, probes.liveness)];
        kinds.into_iter().find(|(_, result)| *result == Some(ProbeResult::Failure)).map(|(k, _)| k)
    }
}

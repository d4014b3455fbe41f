//! Pure. Which containers of a pod are probed, with which probes, and what is known at first.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;

use super::settings::probe_of;
use super::{ContainerProbes, ProbeKind, ProbeResult};
use crate::model::{Container, Pod};
use crate::podplan::Observation;
use crate::podworker::Lifecycle;

#[cfg(test)]
mod tests;

const KINDS: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness];

/// The newest instance of a container whose spec has probes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target<'a> {
    pub instance: &'a Container,
    pub spec: &'a api::Container,
    /// Probes that should be running.
    pub kinds: Vec<ProbeKind>,
    /// Its results if none are known yet.
    pub initial: ContainerProbes,
}

/// The targets of a pod that is to run or is being ended; none of one that has ended. An instance
/// that has ended is among them, so that what its probes found is not forgotten before its
/// successor is there, but none of its probes is to run.
pub(super) fn targets<'a>(observation: &'a Observation, pod: &'a Pod) -> Vec<Target<'a>> {
    if matches!(observation.lifecycle, Lifecycle::Terminated { .. } | Lifecycle::Finished { .. }) {
        return Vec::new();
    }
    let spec = pod.spec();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let probed = containers.filter(|c| KINDS.iter().any(|kind| probe_of(c, *kind).is_some()));
    let target = |spec: &'a api::Container| {
        let instance = observation.runtime.newest(&spec.name)?;
        Some(Target {
            instance,
            spec,
            kinds: kinds(observation, pod, spec, instance),
            initial: initial(&observation.previous, spec, instance),
        })
    };
    probed.filter_map(target).collect()
}

/// The probes an instance should have now.
///
/// | instance | startup, liveness | readiness |
/// |---|---|---|
/// | its postStart hook runs, or it does not run | - | - |
/// | runs | yes | yes |
/// | is being stopped | - | yes |
/// | runs, its pod is being ended | a sidecar only | yes |
fn kinds(
    observation: &Observation,
    pod: &Pod,
    spec: &api::Container,
    instance: &Container,
) -> Vec<ProbeKind> {
    if !instance.is_running() || observation.in_flight.post_start.contains(&spec.name) {
        return Vec::new();
    }
    let is_stopped = observation.in_flight.stopping.contains_key(&instance.id);
    let pod_ends = matches!(observation.lifecycle, Lifecycle::Terminating { .. });
    let ends = is_stopped || (pod_ends && !pod.is_sidecar(&spec.name));
    let wanted = |kind: &ProbeKind| {
        probe_of(spec, *kind).is_some() && (*kind == ProbeKind::Readiness || !ends)
    };
    KINDS.into_iter().filter(wanted).collect()
}

/// What counts before the first probe. What was published of this very instance holds on, so that
/// a restart of noded changes nothing; any other is alive and neither started nor ready.
fn initial(
    published: &api::PodStatus,
    spec: &api::Container,
    instance: &Container,
) -> ContainerProbes {
    let id = format!("containerd://{}", instance.id);
    let mut statuses = published
        .container_statuses
        .iter()
        .flatten()
        .chain(published.init_container_statuses.iter().flatten());
    let known = statuses.find(|status| {
        let state = status.state.as_ref();
        status.name == spec.name
            && status.container_id.as_ref() == Some(&id)
            && state.is_some_and(|state| state.running.is_some())
    });
    let result = |was_well: bool| match was_well {
        true => ProbeResult::Success,
        false => ProbeResult::Unknown,
    };
    let started = known.is_some_and(|status| status.started == Some(true));
    let ready = known.is_some_and(|status| status.ready);
    ContainerProbes {
        id: instance.id.clone(),
        startup: spec.startup_probe.as_ref().map(|_| result(started)),
        readiness: spec.readiness_probe.as_ref().map(|_| result(ready)),
        liveness: spec.liveness_probe.as_ref().map(|_| ProbeResult::Success),
    }
}

/// The address probes go to: the one published as `podIP`. `None` while there is none.
pub(super) fn pod_address(
    observation: &Observation,
    pod: &Pod,
    node_ips: &[IpAddr],
) -> Option<IpAddr> {
    if pod.host_network() {
        return node_ips.first().copied();
    }
    let ips = &observation.runtime.newest_sandbox()?.ips;
    let primary_is_v4 = node_ips.first().is_none_or(IpAddr::is_ipv4);
    ips.iter().find(|ip| ip.is_ipv4() == primary_is_v4).or_else(|| ips.first()).copied()
}

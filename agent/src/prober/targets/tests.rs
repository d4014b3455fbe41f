use serde_json::{Value, json};

use super::*;
use crate::model::RuntimePod;
use crate::podworker::EndCause;
use crate::testing::build::{PodBuilder, pod, published_running, runtime};
use crate::testing::observe::observe;

use ProbeKind::{Liveness, Readiness, Startup};

/// A regular container `main` and a sidecar `side`, both with all probes.
fn probed() -> PodBuilder {
    let probe: Value = json!({"exec": {"command": ["true"]}});
    let probe: api::Probe = serde_json::from_value(probe).unwrap();
    let all = |spec: &mut api::Container| {
        spec.startup_probe = Some(probe.clone());
        spec.readiness_probe = Some(probe.clone());
        spec.liveness_probe = Some(probe.clone());
    };
    pod("ns/a").container("main").sidecar("side").changed("main", all).changed("side", all)
}

fn both_run(pod: &Pod) -> RuntimePod {
    runtime(pod).sandbox(0).running("side", 0).running("main", 0).build()
}

fn kinds_of(observation: &Observation, name: &str) -> Vec<ProbeKind> {
    let pod = observation.pod.as_ref().unwrap();
    let targets = targets(observation, pod);
    targets.into_iter().find(|target| target.spec.name == name).unwrap().kinds
}

/// | situation | main | side |
#[test]
fn liveness_and_startup_end_with_the_containers_own_end_and_readiness_goes_on() {
    let pod = probed().build();
    let all = [Startup, Readiness, Liveness].as_slice();
    let running = || observe(&pod, both_run(&pod));
    for (situation, observed, main, side) in [
        ("runs", running(), all, all),
        ("main is stopped", running().stopping("main-0", 120), &[Readiness], all),
        ("postStart of main runs", running().in_post_start("main"), &[], all),
        ("the pod is ended", running().terminating(EndCause::Completed, 90, 30), &[Readiness], all),
        (
            "the pod is ended and the sidecar's turn has come",
            running().terminating(EndCause::Completed, 90, 30).stopping("side-0", 120),
            &[Readiness],
            &[Readiness],
        ),
    ] {
        let observation = observed.build();
        assert_eq!(kinds_of(&observation, "main"), main, "{situation}");
        assert_eq!(kinds_of(&observation, "side"), side, "{situation}");
    }
}

#[test]
fn ended_container_is_not_probed_and_keeps_its_place_until_the_next_one() {
    let pod = probed().build();
    let held = runtime(&pod).sandbox(0).running("side", 0).exited("main", 0, 1, 50).build();
    let observation = observe(&pod, held).build();
    assert_eq!(kinds_of(&observation, "main"), []);
}

#[test]
fn containers_without_probes_and_pods_that_have_ended_have_no_targets() {
    let plain = pod("ns/a").container("main").build();
    let held = runtime(&plain).sandbox(0).running("main", 0).build();
    assert_eq!(targets(&observe(&plain, held).build(), &plain), []);

    let pod = probed().build();
    let mut observation = observe(&pod, both_run(&pod)).build();
    observation.lifecycle = Lifecycle::Terminated { cause: EndCause::Completed };
    assert_eq!(targets(&observation, &pod), []);
}

#[test]
fn only_the_very_instance_that_was_published_keeps_what_was_published() {
    let pod = probed().build();
    let published = |attempt, started, ready| {
        let mut status = published_running("main", attempt);
        status.started = Some(started);
        status.ready = ready;
        api::PodStatus { container_statuses: Some(vec![status]), ..api::PodStatus::default() }
    };
    let (good, unknown) = (Some(ProbeResult::Success), Some(ProbeResult::Unknown));
    for (situation, status, startup, readiness) in [
        ("new", api::PodStatus::default(), unknown, unknown),
        ("ready", published(1, true, true), good, good),
        ("started", published(1, true, false), good, unknown),
        ("another instance was ready", published(0, true, true), unknown, unknown),
    ] {
        let held = runtime(&pod).sandbox(0).running("main", 1).build();
        let observation = observe(&pod, held).previous(status).build();
        let initial = targets(&observation, &pod).remove(0).initial;
        assert_eq!((initial.startup, initial.readiness), (startup, readiness), "{situation}");
        assert_eq!(initial.liveness, good, "{situation}");
    }
}

#[test]
fn probes_go_to_the_address_that_is_published() {
    let v4 = IpAddr::from([10, 0, 0, 7]);
    let v6: IpAddr = "fd00::7".parse().unwrap();
    let (node_v4, node_v6) = (IpAddr::from([192, 168, 0, 1]), "fd00::1".parse().unwrap());
    let pod = pod("ns/a").container("main");
    let of = |pod: &Pod, node_ips: &[IpAddr]| {
        let held = runtime(pod).sandbox_with(0, |sandbox| sandbox.ips = vec![v4, v6]).build();
        pod_address(&observe(pod, held).build(), pod, node_ips)
    };
    let plain = pod.clone().build();
    assert_eq!(of(&plain, &[node_v4]), Some(v4));
    assert_eq!(of(&plain, &[node_v6]), Some(v6));
    let on_host = pod.host_network().build();
    assert_eq!(of(&on_host, &[node_v4, node_v6]), Some(node_v4));
    assert_eq!(of(&on_host, &[]), None);
    let nothing = runtime(&plain).build();
    assert_eq!(pod_address(&observe(&plain, nothing).build(), &plain, &[node_v4]), None);
}

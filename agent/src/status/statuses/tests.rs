use serde_json::json;

use super::*;
use crate::model::PodSource;
use crate::podworker::EndCause;
use crate::testing::build::runtime;
use crate::testing::observe::observe;

fn pod() -> Pod {
    let object = json!({
        "metadata": { "uid": "u", "name": "p", "namespace": "ns" },
        "spec": {
            "initContainers": [
                { "name": "z" }, { "name": "y", "restartPolicy": "Always" }, { "name": "x" },
            ],
            "containers": [{ "name": "b" }, { "name": "a" }],
            "ephemeralContainers": [{ "name": "f" }, { "name": "e" }],
        },
    });
    Pod::new(std::sync::Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

fn names(list: &[api::ContainerStatus]) -> Vec<&str> {
    list.iter().map(|status| status.name.as_str()).collect()
}

fn reason_of(status: &api::ContainerStatus) -> Option<&str> {
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

#[test]
fn init_containers_keep_the_order_of_the_spec_and_others_are_sorted() {
    let pod = pod();
    let seen = observe(&pod, runtime(&pod).build()).build();
    let statuses = Statuses::of(&StatusInput {
        pod: &pod,
        seen: &seen,
        waiting: &[],
        trouble: None,
        host_ips: &[],
    });
    assert_eq!(names(&statuses.init), ["z", "y", "x"]);
    assert_eq!(names(&statuses.regular), ["a", "b"]);
    assert_eq!(names(&statuses.ephemeral), ["e", "f"]);
    for status in statuses.init.iter().chain(&statuses.regular).chain(&statuses.ephemeral) {
        assert_eq!(reason_of(status), Some("PodInitializing"), "{}", status.name);
    }
}

#[test]
fn at_the_end_only_what_had_begun_counts_as_lost() {
    let pod = pod();
    let held = runtime(&pod).sandbox(0).exited("z", 0, 0, 5).container_with("y", 0, |_| {});
    let mut seen = observe(&pod, held.build()).build();
    seen.lifecycle = Lifecycle::Terminated { cause: EndCause::Deleted };
    seen.in_flight.post_start.clear();
    let of = |seen: &crate::podplan::Observation| {
        Statuses::of(&StatusInput { pod: &pod, seen, waiting: &[], trouble: None, host_ips: &[] })
    };
    let statuses = of(&seen);
    assert_eq!(exit_code(&statuses.init[0]), Some(0));
    assert_eq!(exit_code(&statuses.init[2]), None);
    assert_eq!(exit_code(&statuses.regular[0]), None);

    let held = runtime(&pod).sandbox(0).exited("a", 0, 0, 5);
    seen.runtime = std::sync::Arc::new(held.build());
    let statuses = of(&seen);
    assert_eq!(exit_code(&statuses.regular[0]), Some(0));
    assert_eq!(exit_code(&statuses.regular[1]), Some(137));
}

use super::*;
use crate::testing::build::{at, pod};

fn failure(published: bool) -> StepReport {
    StepReport::StartFailed(StartFailure {
        name: "app".to_owned(),
        kind: ContainerKind::Regular,
        reason: reason::CREATE_CONTAINER_ERROR,
        message: "no space".to_owned(),
        retry_at: None,
        published,
    })
}

#[test]
fn started_container_is_named_by_its_field_path() {
    let pod = pod("ns/web").container("app").build();
    let report = StepReport::Started { name: "app".to_owned(), kind: ContainerKind::Regular };
    let event = step_event(&pod, &report, at(5)).unwrap();
    assert_eq!((event.reason, event.message.as_str()), ("Started", "Container started"));
    assert_eq!(event.object.field_path.as_deref(), Some("spec.containers{app}"));
}

#[test]
fn failure_is_published_once() {
    let pod = pod("ns/web").container("app").build();
    let event = step_event(&pod, &failure(false), at(5)).unwrap();
    assert_eq!((event.warning, event.reason), (true, "Failed"));
    assert_eq!(event.message, "Error: no space; next try within 15s");
    assert_eq!(step_event(&pod, &failure(true), at(5)), None);
}

#[test]
fn cause_of_a_stop_is_in_the_text() {
    let pod = pod("ns/web").container("app").build();
    let table = [
        (StopCause::PodTerminating, "Stopping container app"),
        (StopCause::DefinitionChanged, "Container app definition changed, will be restarted"),
    ];
    for (cause, text) in table {
        let stop = StopContainer {
            id: "app-0".into(),
            name: "app".to_owned(),
            cause,
            grace: std::time::Duration::from_secs(2),
        };
        assert_eq!(stop_event(&pod, &stop, at(5)).message, text);
    }
}

#[test]
fn failed_probe_promises_a_restart_only_where_one_follows() {
    let cause = StopCause::ProbeFailed(crate::prober::ProbeKind::Liveness);
    for (policy, text) in [
        ("Always", "Container app failed liveness probe, will be restarted"),
        ("OnFailure", "Container app failed liveness probe, will be restarted"),
        ("Never", "Container app failed liveness probe"),
    ] {
        let pod = pod("ns/web").container("app").restart(policy).build();
        assert_eq!(killing_event(&pod, "app", cause, at(5)).message, text);
    }
}

#[test]
fn back_off_names_the_pod_the_last_end_and_the_next_start() {
    let pod = pod("ns/web").container("app").build();
    let held = HeldBack {
        name: "app".to_owned(),
        reason: reason::CRASH_LOOP_BACK_OFF,
        message: String::new(),
        until: Some(at(25)),
    };
    let text = "Back-off restarting failed container app in pod web_ns(uid-web)";
    assert_eq!(back_off_event(&pod, &held, None, at(6)).message, text);
    let exit = Exit {
        started_at: None,
        finished_at: at(5),
        code: 3,
        reason: "Error".to_owned(),
        message: String::new(),
    };
    assert_eq!(
        back_off_event(&pod, &held, Some(&exit), at(6)).message,
        format!("{text}: it ended with exit code 3 (Error), next start 20s after that")
    );
}

#[test]
fn ids_that_change_with_each_try_are_left_out_of_what_waits() {
    let id = "0123456789abcdef".repeat(4);
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let table = [
        (format!("sandbox \"{id}\": no"), "sandbox \"<id>\": no".to_owned()),
        (format!("open /run/netns/cni-{uuid}"), "open /run/netns/cni<id>".to_owned()),
        (format!("img@sha256:{id}"), format!("img@sha256:{id}")),
        (format!("pods/{uuid}/volumes"), format!("pods/{uuid}/volumes")),
        ("déjà vu".to_owned(), "déjà vu".to_owned()),
    ];
    for (text, expected) in table {
        assert_eq!(steady(&text), expected);
    }
}

#[test]
fn waiting_container_says_when_it_is_tried_again() {
    let StepReport::StartFailed(mut failure) = failure(false) else { unreachable!() };
    assert_eq!(waiting_message(&failure), "no space; next try within 15s");
    failure.retry_at = Some(at(5));
    assert_eq!(waiting_message(&failure), "no space");
}

#[test]
fn trouble_of_the_whole_pod_begins_with_the_kubelets_words() {
    assert_eq!(
        trouble_text(Trouble::Sandbox, "no CNI"),
        "Failed to create pod sandbox: no CNI; next try within 15s"
    );
    assert_eq!(
        trouble_text(Trouble::Volumes, "no disk"),
        "no disk; next try within 10s or when an object of the pod changes"
    );
}

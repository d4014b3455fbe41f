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
    assert_eq!(event.message, "Error: no space");
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
fn back_off_names_the_pod_with_its_uid() {
    let pod = pod("ns/web").container("app").build();
    assert_eq!(
        back_off_event(&pod, "app", at(5)).message,
        "Back-off restarting failed container app in pod web_ns(uid-web)"
    );
}

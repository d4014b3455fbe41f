use serde_json::json;

use super::*;

fn service(name: &str, cluster_ip: Option<&str>) -> SlimService {
    serde_json::from_value(json!({
        "metadata": {"name": name, "resourceVersion": "1", "managedFields": [{"manager": "x"}]},
        "spec": {"clusterIP": cluster_ip.unwrap_or_default(),
            "ports": [{"name": "web", "port": 80, "targetPort": "http"},
                {"name": "dns", "protocol": "UDP", "port": 53}]},
    }))
    .unwrap()
}

fn names(state: &NamespaceServices) -> Option<Vec<String>> {
    state.synced.then(|| state.services.keys().cloned().collect())
}

#[test]
fn service_keeps_what_environment_variables_need() {
    let service = service("front", Some("10.0.0.1")).env_service().unwrap();
    let port = |name: &str, protocol: &str, port| EnvServicePort {
        name: name.to_owned(),
        protocol: protocol.to_owned(),
        port,
    };
    assert_eq!(service.cluster_ip, "10.0.0.1");
    assert_eq!(service.ports, [port("web", "TCP", 80), port("dns", "UDP", 53)]);
}

#[test]
fn service_without_a_cluster_ip_is_left_out() {
    assert_eq!(service("external", None).env_service(), None);
    assert_eq!(service("headless", Some("None")).env_service(), None);
}

#[test]
fn services_are_unknown_until_the_first_list_is_complete() {
    let mut state = NamespaceServices::default();
    assert_eq!(names(&state), None);
    state.step(WatchStep::Restarted);
    state.step(WatchStep::Applied(service("a", Some("10.0.0.1"))));
    assert_eq!(names(&state), None);
    state.step(WatchStep::Synced);
    assert_eq!(names(&state), Some(vec!["a".to_owned()]));
}

#[test]
fn old_services_stay_until_a_new_list_is_complete() {
    let mut state = NamespaceServices::default();
    state.step(WatchStep::Restarted);
    state.step(WatchStep::Applied(service("a", Some("10.0.0.1"))));
    state.step(WatchStep::Synced);
    state.step(WatchStep::Restarted);
    state.step(WatchStep::Applied(service("b", Some("10.0.0.2"))));
    assert_eq!(names(&state), Some(vec!["a".to_owned()]));
    state.step(WatchStep::Synced);
    assert_eq!(names(&state), Some(vec!["b".to_owned()]));
    state.step(WatchStep::Deleted(service("b", Some("10.0.0.2"))));
    assert_eq!(names(&state), Some(Vec::new()));
}

#[test]
fn service_that_loses_its_cluster_ip_is_forgotten() {
    let mut state = NamespaceServices::default();
    state.step(WatchStep::Restarted);
    state.step(WatchStep::Synced);
    state.step(WatchStep::Applied(service("a", Some("10.0.0.1"))));
    state.step(WatchStep::Applied(service("a", None)));
    assert_eq!(names(&state), Some(Vec::new()));
}

fn states(steps: Vec<WatchStep<api::ConfigMap>>) -> Vec<bool> {
    let convert = single_state::<api::ConfigMap>();
    steps.into_iter().filter_map(convert).map(|state| state.is_some()).collect()
}

#[test]
fn absent_object_is_told_only_once_that_is_sure() {
    use WatchStep::{Applied, Deleted, Restarted, Synced};
    let object = api::ConfigMap::default;
    assert_eq!(states(vec![Restarted]), [false; 0]);
    assert_eq!(states(vec![Restarted, Synced]), [false]);
    assert_eq!(states(vec![Restarted, Applied(object()), Synced]), [true]);
    assert_eq!(states(vec![Restarted, Synced, Applied(object())]), [false, true]);
    assert_eq!(
        states(vec![Restarted, Applied(object()), Synced, Deleted(object())]),
        [true, false]
    );
    let vanished = vec![Restarted, Applied(object()), Synced, Restarted, Synced];
    assert_eq!(states(vanished), [true, false]);
}

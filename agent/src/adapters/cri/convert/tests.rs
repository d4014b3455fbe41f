use super::*;

fn labels() -> HashMap<String, String> {
    [(POD_UID, "u"), (POD_NAME, "p"), (POD_NAMESPACE, "ns")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn object_without_the_pod_label_is_not_ours() {
    assert_eq!(listed_sandbox(cri::PodSandbox::default()), None);
    assert_eq!(listed_container(cri::Container::default()), None);
    let item = cri::Container { labels: labels(), state: 2, ..cri::Container::default() };
    assert_eq!(listed_container(item).map(|item| item.state), Some(ListedState::Exited));
}

#[test]
fn state_the_runtime_does_not_name_is_unknown() {
    let status = cri::ContainerStatus { state: 99, ..cri::ContainerStatus::default() };
    assert_eq!(container(status, "s".into()).state, ContainerState::Unknown);
}

#[test]
fn container_that_never_started_has_no_start_time() {
    let status = cri::ContainerStatus {
        state: cri::ContainerState::ContainerExited as i32,
        finished_at: 5,
        exit_code: 128,
        ..cri::ContainerStatus::default()
    };
    let converted = container(status, "s".into());
    assert_eq!(converted.exit().map(|exit| (exit.started_at, exit.code)), Some((None, 128)));
}

#[test]
fn missing_condition_is_not_ready() {
    let status = runtime_status(cri::StatusResponse::default());
    assert!(!status.runtime.ready && !status.network.ready);
    assert!(status.network.message.contains("NetworkReady"));
}

#[test]
fn features_are_taken_where_the_runtime_tells_them() {
    let handler = |name: &str, user_namespaces| cri::RuntimeHandler {
        name: name.to_owned(),
        features: Some(cri::RuntimeHandlerFeatures {
            user_namespaces,
            ..cri::RuntimeHandlerFeatures::default()
        }),
    };
    let silent = cri::RuntimeHandler { name: "old".to_owned(), features: None };
    let status = runtime_status(cri::StatusResponse {
        runtime_handlers: vec![handler("", true), handler("other", false), silent],
        features: Some(cri::RuntimeFeatures {
            supplemental_groups_policy: true,
            ..cri::RuntimeFeatures::default()
        }),
        ..cri::StatusResponse::default()
    });
    let features = status.features;
    assert_eq!(features.supplemental_groups_policy, Some(true));
    assert_eq!(features.handlers.keys().collect::<Vec<_>>(), ["", "old", "other"]);
    assert!(features.of_handler("").user_namespaces);
    for name in ["other", "old", "unknown"] {
        assert_eq!(features.of_handler(name), HandlerFeatures::default(), "{name}");
    }
    let old = runtime_status(cri::StatusResponse::default()).features;
    assert_eq!(old, RuntimeFeatures::default());
}

#[test]
fn all_addresses_of_a_sandbox_are_taken() {
    let status = cri::PodSandboxStatus {
        network: Some(cri::PodSandboxNetworkStatus {
            ip: "10.0.0.1".to_owned(),
            additional_ips: vec![cri::PodIp { ip: "fd00::1".to_owned() }],
        }),
        ..cri::PodSandboxStatus::default()
    };
    assert_eq!(sandbox(status).ips.len(), 2);
}

#[test]
fn user_and_stop_signal_are_taken_where_the_runtime_has_them() {
    let user = cri::LinuxContainerUser { uid: 7, gid: 8, supplemental_groups: vec![9] };
    let status = cri::ContainerStatus {
        user: Some(cri::ContainerUser { linux: Some(user) }),
        stop_signal: cri::Signal::Sigquit as i32,
        ..cri::ContainerStatus::default()
    };
    let converted = container(status, "s".into());
    let user = ContainerUser { uid: 7, gid: 8, supplemental_groups: vec![9] };
    assert_eq!(converted.user, Some(user));
    assert_eq!(converted.stop_signal.as_deref(), Some("SIGQUIT"));
    let silent = container(cri::ContainerStatus::default(), "s".into());
    assert_eq!((silent.user, silent.stop_signal), (None, None));
}

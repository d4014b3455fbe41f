use super::*;
use crate::podexec::env_file::EnvFiles;
use crate::podexec::fixtures::{node_facts, pod};
use crate::podexec::security_context::node_users;
use crate::volumes::MountedVolume;
use expect_test::expect_file;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn build(overlay: Value) -> Result<ContainerConfig, ContainerConfigError> {
    let pod = pod(overlay);
    let (services, objects) = (EnvServices::default(), ObjectSet::default());
    let volume = MountedVolume {
        host_path: "/r/pods/uid-1/volumes/kubernetes.io~projected/token".into(),
        read_only: true,
        selinux_relabel: true,
    };
    let volumes = [("token".to_owned(), volume)].into_iter().collect();
    let inputs = ContainerInputs {
        attempt: 3,
        target: None,
        image: ImageInput {
            reference: "sha256:abc",
            user: &ImageUser::default(),
            volumes: &BTreeMap::new(),
        },
        services: Some(&services),
        objects: &objects,
        env_files: &EnvFiles::default(),
        pod_ips: &["10.0.0.5".parse().unwrap()],
        volumes: &volumes,
        sub_paths: &BTreeMap::new(),
        files: PodFiles {
            hosts: Some(Path::new("/r/pods/uid-1/etc-hosts")),
            termination_log: Some(Path::new("/r/pods/uid-1/containers/main/01234567")),
        },
        handler: HandlerFeatures::default(),
        users: &node_users(),
        node: &node_facts(),
    };
    build_container_config(&pod, &pod.spec().containers[0], &inputs)
}

#[test]
fn whole_container() {
    let mut config = build(json!({"spec": {
        "terminationGracePeriodSeconds": 30,
        "containers": [{
            "name": "main", "image": "img:1", "workingDir": "/w", "stdin": true, "tty": true,
            "command": ["sh", "-c", "echo $(GREETING) $$(GREETING) $(NOBODY)"],
            "args": ["$(IP)"],
            "env": [
                {"name": "GREETING", "value": "hi"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        }],
    }}))
    .unwrap();
    // Maps print in no order and values of variables not at all: both are looked at by themselves.
    let labels = BTreeMap::from_iter(std::mem::take(&mut config.labels));
    let annotations = BTreeMap::from_iter(std::mem::take(&mut config.annotations));
    let resources = config.linux.as_mut().unwrap().resources.as_mut().unwrap();
    let unified = BTreeMap::from_iter(std::mem::take(&mut resources.unified));
    let text = |pair: KeyValue| (pair.key, String::from_utf8(pair.value).unwrap());
    let variables: Vec<_> = std::mem::take(&mut config.envs).into_iter().map(text).collect();
    let whole =
        format!("{labels:#?}\n{annotations:#?}\n{unified:#?}\n{variables:#?}\n{config:#?}\n");
    expect_file!["whole_container.txt"].assert_eq(&whole);
}

#[test]
fn stop_signal_is_the_containers_own() {
    for (name, expected) in [
        (json!("SIGUSR1"), Signal::Sigusr1),
        (json!("SIGNOPE"), Signal::RuntimeDefault),
        (json!(null), Signal::RuntimeDefault),
    ] {
        let overlay = json!({"spec": {"containers": [
            {"name": "main", "image": "img", "lifecycle": {"stopSignal": name}}]}});
        assert_eq!(build(overlay).unwrap().stop_signal, expected as i32, "{name}");
    }
}

#[test]
fn missing_volume_is_an_error() {
    let overlay = json!({"spec": {"containers": [
        {"name": "main", "image": "img", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}]}});
    assert!(matches!(build(overlay), Err(ContainerConfigError::VolumeNotMounted { .. })));
}

use super::*;
use crate::podexec::fixtures::{container, node_facts, pod};
use cri_proto::runtime::v1::LinuxPodSandboxConfig;
use serde_json::{Value, json};

fn security(
    pod_security: Value,
    container_security: Value,
    image: &ImageUser,
) -> Result<LinuxContainerSecurityContext, ContainerConfigError> {
    let pod = pod(json!({"spec": {"securityContext": pod_security}}));
    let container =
        container(json!({"name": "main", "image": "img", "securityContext": container_security}));
    super::container_security(&pod, &container, image, &node_users(), &node_facts())
}

fn root() -> ImageUser {
    ImageUser::default()
}

fn named() -> ImageUser {
    ImageUser { uid: None, username: "app".to_owned() }
}

fn numbered(uid: i64) -> ImageUser {
    ImageUser { uid: Some(uid), username: String::new() }
}

#[test]
fn user_comes_from_container_pod_or_image() {
    // pod, container, image; uid, gid, name
    for (of_pod, of_container, image, uid, gid, name) in [
        (json!({}), json!({}), root(), Some(0), None, ""),
        (json!({}), json!({}), numbered(5), Some(5), None, ""),
        (json!({}), json!({}), named(), None, None, "app"),
        (json!({"runAsUser": 1}), json!({}), named(), Some(1), None, ""),
        (
            json!({"runAsUser": 1, "runAsGroup": 2}),
            json!({"runAsUser": 3}),
            root(),
            Some(3),
            Some(2),
            "",
        ),
    ] {
        let got = security(of_pod.clone(), of_container.clone(), &image).unwrap();
        let ids = (got.run_as_user.map(|v| v.value), got.run_as_group.map(|v| v.value));
        assert_eq!(ids, (uid, gid), "{of_pod} {of_container}");
        assert_eq!(got.run_as_username, name, "{of_pod} {of_container}");
    }
}

#[test]
fn non_root_is_verified() {
    let on = json!({"runAsNonRoot": true});
    for (of_pod, of_container, image, expected) in [
        (on.clone(), json!({}), numbered(5), Ok(())),
        (on.clone(), json!({"runAsUser": 7}), root(), Ok(())),
        (on.clone(), json!({"runAsNonRoot": false}), root(), Ok(())),
        (on.clone(), json!({"runAsUser": 0}), numbered(5), Err("runAsUser breaks non-root policy")),
        (
            on.clone(),
            json!({}),
            root(),
            Err("image will run as root (pod: \"web-0_ns(uid-1)\", container: main)"),
        ),
        (on.clone(), json!({}), named(), Err("non-numeric user (app), cannot verify")),
        (on.clone(), json!({}), numbered(1 << 31), Err("an invalid user id (2147483648)")),
    ] {
        let got = security(of_pod, of_container.clone(), &image).map(|_| ());
        match expected {
            Ok(()) => assert_eq!(got, Ok(()), "{of_container}"),
            Err(part) => assert!(got.unwrap_err().to_string().contains(part), "{part}"),
        }
    }
}

#[test]
fn flags_and_paths_are_passed_on() {
    let got = security(
        json!({"fsGroup": 9, "supplementalGroups": [4, 5], "supplementalGroupsPolicy": "Strict"}),
        json!({
            "privileged": true, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "procMount": "Unmasked",
            "seLinuxOptions": {"level": "s0"}, "appArmorProfile": {"type": "Unconfined"},
        }),
        &root(),
    )
    .unwrap();
    assert!(got.privileged && got.readonly_rootfs && got.no_new_privs);
    assert_eq!(got.supplemental_groups, [9, 4, 5]);
    assert_eq!(got.supplemental_groups_policy, SupplementalGroupsPolicy::Strict as i32);
    let capabilities = got.capabilities.unwrap();
    assert_eq!(capabilities.add_capabilities, ["NET_ADMIN"]);
    assert_eq!(capabilities.drop_capabilities, ["ALL"]);
    assert!(got.masked_paths.is_empty() && got.readonly_paths.is_empty());
    assert_eq!(got.selinux_options.unwrap().level, "s0");
    assert_eq!(got.apparmor.unwrap().profile_type, ProfileType::Unconfined as i32);
}

#[test]
fn plain_containers_get_the_default_paths_and_no_limits_on_privileges() {
    let got = security(json!({}), json!({}), &root()).unwrap();
    assert!(!got.no_new_privs && !got.privileged && got.apparmor.is_none());
    assert_eq!(got.masked_paths.len(), 12);
    assert_eq!(got.readonly_paths.len(), 5);
}

#[test]
fn namespaces_follow_the_pod() {
    // spec; network, pid, ipc
    for (spec, expected) in [
        (json!({}), (NamespaceMode::Pod, NamespaceMode::Container, NamespaceMode::Pod)),
        (
            json!({"hostNetwork": true}),
            (NamespaceMode::Node, NamespaceMode::Container, NamespaceMode::Pod),
        ),
        (
            json!({"hostPID": true, "hostIPC": true}),
            (NamespaceMode::Pod, NamespaceMode::Node, NamespaceMode::Node),
        ),
        (
            json!({"shareProcessNamespace": true}),
            (NamespaceMode::Pod, NamespaceMode::Pod, NamespaceMode::Pod),
        ),
    ] {
        let got =
            sandbox_security(&pod(json!({"spec": spec})), &node_users()).namespace_options.unwrap();
        let (network, pid, ipc) = expected;
        assert_eq!(
            (got.network, got.pid, got.ipc),
            (network as i32, pid as i32, ipc as i32),
            "{spec}"
        );
        assert_eq!(got.userns_options.unwrap().mode, NamespaceMode::Node as i32);
    }
}

#[test]
fn sandbox_is_privileged_with_any_container_and_always_confined() {
    let privileged = pod(json!({"spec": {"containers": [
        {"name": "a"}, {"name": "b", "securityContext": {"privileged": true}}]}}));
    let got = sandbox_security(&privileged, &node_users());
    assert!(got.privileged);
    assert_eq!(got.seccomp.unwrap().profile_type, ProfileType::RuntimeDefault as i32);
    assert!(!sandbox_security(&pod(json!({})), &node_users()).privileged);
}

#[test]
fn processes_of_a_target_are_joined_unless_they_are_shared_anyway() {
    let target = ContainerId::from("abc");
    for (overlay, mode, id) in [
        (json!({"spec": {}}), NamespaceMode::Target, "abc"),
        (json!({"spec": {"shareProcessNamespace": true}}), NamespaceMode::Pod, ""),
        (json!({"spec": {"hostPID": true}}), NamespaceMode::Node, ""),
    ] {
        let pod = pod(overlay.clone());
        let mut security = LinuxContainerSecurityContext {
            namespace_options: Some(namespaces(&pod, &node_users())),
            ..Default::default()
        };
        join_processes(&mut security, &target);
        let options = security.namespace_options.unwrap();
        assert_eq!((options.pid, options.target_id.as_str()), (mode as i32, id), "{overlay}");
    }
}

#[test]
fn own_users_are_those_of_sandbox_and_container() {
    let users = pod_users(Some(IdBlock { first: 131_072, length: 65_536 }));
    let mapping = IdMapping { host_id: 131_072, container_id: 0, length: 65_536 };
    assert_eq!((users.mode, &users.uids), (NamespaceMode::Pod as i32, &vec![mapping]));
    assert_eq!(users.gids, users.uids);
    assert_eq!(pod_users(None), node_users());
    let pod = pod(json!({"spec": {"hostUsers": false}}));
    let plain = container(json!({"name": "main"}));
    let sandbox = sandbox_security(&pod, &users).namespace_options.unwrap();
    let container = super::container_security(&pod, &plain, &root(), &users, &node_facts());
    let container = container.unwrap().namespace_options.unwrap();
    assert_eq!(sandbox.userns_options.as_ref(), Some(&users));
    let security =
        LinuxSandboxSecurityContext { namespace_options: Some(sandbox), ..Default::default() };
    let linux = LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
    let config = PodSandboxConfig { linux: Some(linux), ..Default::default() };
    assert_eq!(sandbox_users(&config), users);
    assert_eq!(sandbox_users(&PodSandboxConfig::default()), node_users());
    assert_eq!(container.userns_options.as_ref(), Some(&users));
}

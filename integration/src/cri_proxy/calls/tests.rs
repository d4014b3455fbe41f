use super::*;

/// A message as it is on the wire.
fn framed(message: &impl Message) -> Vec<u8> {
    [vec![0; 5], message.encode_to_vec()].concat()
}

fn metadata() -> cri::PodSandboxMetadata {
    cri::PodSandboxMetadata {
        name: "web".to_owned(),
        uid: "u1".to_owned(),
        namespace: "ns".to_owned(),
        attempt: 0,
    }
}

/// Calls after a sandbox `s1` and a container `c1` were made for the pod `ns/web`.
fn made() -> Calls {
    let mut calls = Calls::default();
    let config = cri::PodSandboxConfig { metadata: Some(metadata()), ..Default::default() };
    let run = cri::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    let subject = calls.subject("RunPodSandbox", &framed(&run));
    let answer = cri::RunPodSandboxResponse { pod_sandbox_id: "s1".to_owned() };
    calls.learn("RunPodSandbox", &subject, &framed(&answer));
    let container = cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: "main".to_owned(), attempt: 2 }),
        ..Default::default()
    };
    let create = cri::CreateContainerRequest {
        pod_sandbox_id: "s1".to_owned(),
        config: Some(container),
        sandbox_config: Some(config),
    };
    let subject = calls.subject("CreateContainer", &framed(&create));
    let answer = cri::CreateContainerResponse { container_id: "c1".to_owned() };
    calls.learn("CreateContainer", &subject, &framed(&answer));
    calls
}

fn of_container() -> Subject {
    Subject { pod: Some("ns/web".to_owned()), container: Some(("main".to_owned(), 2)), image: None }
}

#[test]
fn calls_by_id_are_about_the_pod_the_id_was_given_out_for() {
    let mut calls = made();
    let stop = cri::StopContainerRequest { container_id: "c1".to_owned(), timeout: 30 };
    assert_eq!(calls.subject("StopContainer", &framed(&stop)), of_container());
    let remove = cri::RemovePodSandboxRequest { pod_sandbox_id: "s1".to_owned() };
    let subject = calls.subject("RemovePodSandbox", &framed(&remove));
    assert_eq!(subject.pod.as_deref(), Some("ns/web"));
    let unknown = cri::RemovePodSandboxRequest { pod_sandbox_id: "s2".to_owned() };
    assert_eq!(calls.subject("RemovePodSandbox", &framed(&unknown)), Subject::default());
}

#[test]
fn lists_are_about_the_pod_they_are_filtered_by() {
    let mut calls = made();
    let filter = |uid: &str| cri::ContainerFilter {
        label_selector: HashMap::from([(POD_UID.to_owned(), uid.to_owned())]),
        ..Default::default()
    };
    for (uid, pod) in [("u1", Some("ns/web")), ("u2", None)] {
        let list = cri::ListContainersRequest { filter: Some(filter(uid)) };
        let subject = calls.subject("ListContainers", &framed(&list));
        assert_eq!(subject.pod.as_deref(), pod, "{uid}");
    }
    let whole = cri::ListContainersRequest { filter: None };
    assert_eq!(calls.subject("ListContainers", &framed(&whole)), Subject::default());
}

#[test]
fn ids_are_learned_from_lists_too() {
    let mut calls = Calls::default();
    let sandbox =
        cri::PodSandbox { id: "s1".to_owned(), metadata: Some(metadata()), ..Default::default() };
    let answer = cri::ListPodSandboxResponse { items: vec![sandbox] };
    calls.learn("ListPodSandbox", &Subject::default(), &framed(&answer));
    let container = cri::Container {
        id: "c1".to_owned(),
        pod_sandbox_id: "s1".to_owned(),
        metadata: Some(cri::ContainerMetadata { name: "main".to_owned(), attempt: 2 }),
        ..Default::default()
    };
    let answer = cri::ListContainersResponse { containers: vec![container] };
    calls.learn("ListContainers", &Subject::default(), &framed(&answer));
    let start = cri::StartContainerRequest { container_id: "c1".to_owned() };
    assert_eq!(calls.subject("StartContainer", &framed(&start)), of_container());
}

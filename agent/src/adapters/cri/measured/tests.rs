use tonic::body::Body;

use super::{is_success, operation};

#[test]
fn calls_have_the_kubelets_names() {
    for (method, name) in [
        ("RuntimeService/Version", "version"),
        ("RuntimeService/RunPodSandbox", "run_podsandbox"),
        ("RuntimeService/PodSandboxStatus", "podsandbox_status"),
        ("RuntimeService/ListPodSandbox", "list_podsandbox"),
        ("RuntimeService/ListPodSandboxStats", "list_podsandbox_stats"),
        ("RuntimeService/UpdatePodSandboxResources", "update_podsandbox_resources"),
        ("RuntimeService/CreateContainer", "create_container"),
        ("RuntimeService/UpdateContainerResources", "update_container"),
        ("RuntimeService/ReopenContainerLog", "reopen_container_log"),
        ("RuntimeService/ExecSync", "exec_sync"),
        ("RuntimeService/PortForward", "port_forward"),
        ("RuntimeService/CheckpointContainer", "checkpoint_container"),
        ("RuntimeService/RuntimeConfig", "runtime_config"),
        ("RuntimeService/UpdateRuntimeConfig", "update_runtime_config"),
        ("ImageService/ImageFsInfo", "image_fs_info"),
        ("ImageService/PullImage", "pull_image"),
    ] {
        assert_eq!(operation(&format!("/runtime.v1.{method}")), name);
    }
}

#[test]
fn an_error_is_seen_in_the_head_of_the_answer() {
    let answer = |status: Option<&str>, code: u16| {
        let mut answer = http::Response::builder().status(code);
        if let Some(status) = status {
            answer = answer.header("grpc-status", status);
        }
        is_success(&answer.body(Body::empty()).unwrap())
    };
    assert!(answer(None, 200));
    assert!(answer(Some("0"), 200));
    assert!(!answer(Some("5"), 200));
    assert!(!answer(None, 503));
}

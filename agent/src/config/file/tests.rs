use super::*;

fn kubelet(text: &str) -> Result<KubeletConfiguration, FileError> {
    let path = Path::new("config.yaml");
    decode_kubelet(path, parse_object(path, text)?)
}

#[test]
fn unknown_field_is_an_error_that_names_it() {
    let error = kubelet("maxPods: 5\nmaxPod: 6\n").unwrap_err().to_string();
    assert!(error.contains("unknown field \"maxPod\""), "{error}");
    let error = kubelet("crashLoopBackOff: {period: 1s}\n").unwrap_err().to_string();
    assert!(error.contains("unknown field `period`"), "{error}");
}

#[test]
fn known_field_without_effect_is_accepted() {
    let config = kubelet("cpuManagerPolicy: static\nmemorySwap: {swapBehavior: NoSwap}\n");
    assert_eq!(config.unwrap().unused.len(), 2);
}

#[test]
fn wrong_kind_and_wrong_type_are_errors() {
    let error = kubelet("kind: Pod\n").unwrap_err().to_string();
    assert!(error.contains("kind is \"Pod\", expected \"KubeletConfiguration\""), "{error}");
    assert!(kubelet("maxPods: many\n").is_err());
    assert!(kubelet("failSwapOn: yes\n").is_err());
    assert!(kubelet("- a\n").is_err());
    assert!(kubelet("maxPods: 1\nmaxPods: 2\n").is_err());
}

#[test]
fn empty_file_and_json_are_configurations() {
    assert!(kubelet("").unwrap().max_pods.is_none());
    assert_eq!(kubelet(r#"{"maxPods": 7}"#).unwrap().max_pods, Some(7));
}

#[test]
fn drop_ins_win_over_the_main_file_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("main.yaml", "maxPods: 1\nevictionHard: {memory.available: 1Gi}\nport: 1\n");
    write("20-b.conf", "maxPods: 3\n");
    write("10-a.conf", "maxPods: 2\nevictionHard: {nodefs.available: 5%}\n");
    write("ignored.yaml", "maxPods: 9\n");
    let merged = read_with_drop_ins(Some(&dir.path().join("main.yaml")), Some(dir.path())).unwrap();
    let config = decode_kubelet(dir.path(), merged).unwrap();
    assert_eq!(config.max_pods, Some(3));
    assert_eq!(config.port, Some(1));
    assert_eq!(config.eviction_hard.unwrap().len(), 2);
}

#[test]
fn missing_file_says_which_and_how_to_mend_it() {
    let error = read_object(Path::new("/nonexistent/x.yaml")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/x.yaml") && error.contains("check the path"), "{error}");
}

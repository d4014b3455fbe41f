use super::*;

#[test]
fn logs_lie_where_collectors_look() {
    let pod = PodFullName::new("ns", "web-0");
    let dir = pod_log_dir(Path::new("/var/log/pods"), &pod, &PodUid::from("u-1"));
    assert_eq!(dir, Path::new("/var/log/pods/ns_web-0_u-1"));
    assert_eq!(container_log("main", 2), "main/2.log");
    let link = container_log_link(Path::new("/var/log/containers"), &pod, "main", &"abc".into());
    assert_eq!(link, Path::new("/var/log/containers/web-0_ns_main-abc.log"));
}

#[test]
fn long_link_names_are_cut_to_what_a_file_system_takes() {
    let pod = PodFullName::new(&"n".repeat(63), &"p".repeat(250));
    let link = container_log_link(Path::new("/l"), &pod, "c", &"abc".into());
    let name = link.file_name().unwrap().to_str().unwrap();
    assert_eq!(name.len(), 255);
    assert!(name.ends_with(".log"));
}

#[test]
fn attempt_is_read_from_log_names() {
    for (name, expected) in [
        ("0.log", Some(0)),
        ("12.log", Some(12)),
        ("3.log.20260102-030405", Some(3)),
        ("3.log.20260102-030405.gz", Some(3)),
        ("x.log", None),
        ("3.txt", None),
        ("log", None),
    ] {
        assert_eq!(attempt_of_log(name), expected, "{name}");
    }
}

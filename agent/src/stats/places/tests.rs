use super::*;

#[test]
fn containers_are_found_under_both_drivers() {
    let children = ["abc", "cri-containerd-def.scope", "crio-conmon-ghi.scope", "cdef"];
    let children: Vec<String> = children.iter().map(ToString::to_string).collect();
    let pod = Path::new("/kubepods/pod1");
    for (id, expected) in [
        ("abc", Some("/kubepods/pod1/abc")),
        ("def", Some("/kubepods/pod1/cri-containerd-def.scope")),
        ("bc", None),
        ("ef", None),
        ("zzz", None),
    ] {
        assert_eq!(container_cgroup(pod, &children, id), expected.map(PathBuf::from), "{id}");
    }
}

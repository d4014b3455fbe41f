use super::*;

#[test]
fn paths_are_the_kubelets() {
    let layout = PodLayout::new(Path::new("/r"), &"u1".into()).unwrap();
    assert_eq!(layout.dir(), Path::new("/r/pods/u1"));
    assert_eq!(
        layout.volume(EMPTY_DIR, "cache").unwrap(),
        Path::new("/r/pods/u1/volumes/kubernetes.io~empty-dir/cache")
    );
    assert_eq!(
        layout.sub_path("cache", "main", 3).unwrap(),
        Path::new("/r/pods/u1/volume-subpaths/cache/main/3")
    );
    assert_eq!(layout.hosts_file(), Path::new("/r/pods/u1/etc-hosts"));
    assert_eq!(layout.container("main").unwrap(), Path::new("/r/pods/u1/containers/main"));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let layout = PodLayout::new(Path::new("/r"), &"u1".into()).unwrap();
    for name in ["", ".", "..", "a/b", "/a", "a/", "../x"] {
        assert!(layout.volume(EMPTY_DIR, name).is_err(), "{name:?}");
        assert!(layout.sub_path(name, "main", 0).is_err(), "{name:?}");
        assert!(layout.sub_path("cache", name, 0).is_err(), "{name:?}");
        assert!(PodLayout::new(Path::new("/r"), &name.into()).is_err(), "{name:?}");
    }
}

#[test]
fn only_volumes_and_their_parts_may_be_mount_points() {
    let layout = PodLayout::new(Path::new("/r"), &"u1".into()).unwrap();
    for (path, expected) in [
        ("/r/pods/u1/volumes/kubernetes.io~projected/t", true),
        ("/r/pods/u1/volumes/kubernetes.io~projected/t/inside", false),
        ("/r/pods/u1/volumes", false),
        ("/r/pods/u1/volume-subpaths/t/main/0", true),
        ("/r/pods/u1/volume-subpaths/t/main/0/inside", false),
        ("/r/pods/u1/volume-subpaths/t/main", false),
        ("/r/pods/u1/etc-hosts", false),
        ("/r/pods/u2/volumes/p/t", false),
    ] {
        assert_eq!(layout.is_own_mount(Path::new(path)), expected, "{path}");
    }
}

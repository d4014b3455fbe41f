use super::*;

const UID: &str = "11112222-3333-4444";

#[test]
fn names_follow_the_driver() {
    let uid = PodUid::from(UID);
    let table = [
        (
            CgroupDriver::Cgroupfs,
            "/",
            QosClass::Guaranteed,
            "/kubepods/pod11112222-3333-4444",
            "/kubepods/pod11112222-3333-4444",
        ),
        (
            CgroupDriver::Cgroupfs,
            "/",
            QosClass::Burstable,
            "/kubepods/burstable/pod11112222-3333-4444",
            "/kubepods/burstable/pod11112222-3333-4444",
        ),
        (
            CgroupDriver::Cgroupfs,
            "/node/one",
            QosClass::BestEffort,
            "/node/one/kubepods/besteffort/pod11112222-3333-4444",
            "/node/one/kubepods/besteffort/pod11112222-3333-4444",
        ),
        (
            CgroupDriver::Systemd,
            "/",
            QosClass::Guaranteed,
            "/kubepods.slice/kubepods-pod11112222_3333_4444.slice",
            "kubepods-pod11112222_3333_4444.slice",
        ),
        (
            CgroupDriver::Systemd,
            "",
            QosClass::Burstable,
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod11112222_3333_4444.slice",
            "kubepods-burstable-pod11112222_3333_4444.slice",
        ),
        (
            CgroupDriver::Systemd,
            "/my-node",
            QosClass::BestEffort,
            "/my_node.slice/my_node-kubepods.slice/my_node-kubepods-besteffort.slice/my_node-kubepods-besteffort-pod11112222_3333_4444.slice",
            "my_node-kubepods-besteffort-pod11112222_3333_4444.slice",
        ),
    ];
    for (driver, root, class, path, parent) in table {
        let names = CgroupNames::new(driver, Path::new(root));
        assert_eq!(names.pod(&uid, class), Path::new(path));
        assert_eq!(names.cri_parent(&uid, class), Path::new(parent));
        let last = path.rsplit('/').next().unwrap();
        assert_eq!(names.pod_of(last), Some(uid.clone()), "{last}");
    }
}

#[test]
fn other_cgroups_belong_to_no_pod() {
    for (driver, name) in [
        (CgroupDriver::Cgroupfs, "burstable"),
        (CgroupDriver::Cgroupfs, "pod"),
        (CgroupDriver::Systemd, "kubepods-burstable.slice"),
        (CgroupDriver::Systemd, "kubepods-pod.slice"),
        (CgroupDriver::Systemd, "cri-containerd-1.scope"),
    ] {
        assert_eq!(CgroupNames::new(driver, Path::new("/")).pod_of(name), None, "{name}");
    }
}

#[test]
fn class_cgroups_stand_below_kubepods() {
    let names = CgroupNames::new(CgroupDriver::Cgroupfs, Path::new("/"));
    assert_eq!(names.kubepods(), Path::new("/kubepods"));
    assert_eq!(names.qos(QosClass::Guaranteed), Path::new("/kubepods"));
    assert_eq!(names.qos(QosClass::BestEffort), Path::new("/kubepods/besteffort"));
}

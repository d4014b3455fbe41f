use super::*;

fn usage(used: Option<u64>) -> cri::FilesystemUsage {
    cri::FilesystemUsage {
        timestamp: 1_700_000_000_000_000_000,
        fs_id: Some(cri::FilesystemIdentifier { mountpoint: "/var/lib/containerd/x".to_owned() }),
        used_bytes: used.map(|value| cri::UInt64Value { value }),
        inodes_used: None,
    }
}

#[test]
fn a_layer_keeps_what_is_not_told_apart_from_nothing() {
    let attributes = cri::ContainerAttributes { id: "c1".to_owned(), ..Default::default() };
    let stats = cri::ContainerStats {
        attributes: Some(attributes),
        writable_layer: Some(usage(Some(0))),
        ..Default::default()
    };
    let layer = layer(stats).unwrap();
    assert_eq!((layer.container.as_str(), layer.used, layer.inodes), ("c1", Some(0), None));
    assert_eq!(layer.mountpoint, "/var/lib/containerd/x");
    assert_eq!(layer.at.map(|at| at.as_second()), Some(1_700_000_000));
}

#[test]
fn a_container_without_a_layer_is_left_out() {
    assert_eq!(layer(cri::ContainerStats::default()), None);
    let attributes = cri::ContainerAttributes { id: "c1".to_owned(), ..Default::default() };
    let stats = cri::ContainerStats { attributes: Some(attributes), ..Default::default() };
    assert_eq!(layer(stats), None);
}

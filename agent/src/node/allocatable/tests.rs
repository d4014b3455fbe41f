use super::*;

fn texts(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn machine() -> MachineCapacity {
    MachineCapacity {
        cpus: 4,
        memory_bytes: 8 << 30,
        root_fs_bytes: 100 << 30,
        huge_pages: vec![(2 << 20, 64 << 20), (1 << 30, 0)],
        ..MachineCapacity::default()
    }
}

fn shown(list: &Resources) -> Vec<String> {
    list.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
}

#[test]
fn capacity_and_allocatable_print_as_upstream_prints_them() {
    let config = NodeConfig {
        max_pods: 110,
        kube_reserved: texts(&[("cpu", "250m"), ("memory", "512Mi")]),
        system_reserved: texts(&[("memory", "512Mi"), ("ephemeral-storage", "1Gi")]),
        eviction_hard: texts(&[("memory.available", "100Mi"), ("nodefs.available", "10%")]),
        ..NodeConfig::default()
    };
    let reservations = Reservations::parse(&config).unwrap();
    let capacity = capacity(&machine(), &config);
    assert_eq!(
        shown(&capacity),
        [
            "cpu=4",
            "ephemeral-storage=100Gi",
            "hugepages-1Gi=0",
            "hugepages-2Mi=64Mi",
            "memory=8Gi",
            "pods=110"
        ]
    );
    assert_eq!(
        shown(&allocatable(&capacity, &reservations)),
        [
            "cpu=3750m",
            "ephemeral-storage=89Gi",
            "hugepages-1Gi=0",
            "hugepages-2Mi=64Mi",
            "memory=7004Mi",
            "pods=110"
        ]
    );
    // Neither the threshold nor the huge pages.
    assert_eq!(usable_by_pods(&capacity, &reservations)["memory"].to_string(), "7Gi");
}

#[test]
fn nothing_goes_below_zero() {
    let config = NodeConfig {
        kube_reserved: texts(&[("cpu", "64"), ("memory", "1Ti")]),
        ..NodeConfig::default()
    };
    let reservations = Reservations::parse(&config).unwrap();
    let left = allocatable(&capacity(&machine(), &config), &reservations);
    assert_eq!((left["cpu"].value(), left["memory"].value()), (0, 0));
}

#[test]
fn pods_per_core_lowers_max_pods_only() {
    for (per_core, max, pods) in [(0, 110, 110), (10, 110, 40), (100, 110, 110)] {
        let config = NodeConfig { pods_per_core: per_core, max_pods: max, ..NodeConfig::default() };
        assert_eq!(capacity(&machine(), &config)["pods"].value(), pods);
    }
}

#[test]
fn bad_reservations_are_named() {
    for (reserved, message) in [
        (("cpu", "lots"), "kubeReserved[cpu] is not a quantity"),
        (("memory", "-1"), "kubeReserved[memory] is negative"),
    ] {
        let config = NodeConfig { kube_reserved: texts(&[reserved]), ..NodeConfig::default() };
        assert_eq!(Reservations::parse(&config).unwrap_err().to_string(), message);
    }
}

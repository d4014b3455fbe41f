use super::*;

fn thresholds(entries: &[(&str, &str)]) -> Result<Thresholds, ThresholdError> {
    let texts = entries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Thresholds::parse(&texts.collect())
}

#[test]
fn texts_are_read_or_refused() {
    let read = thresholds(&[
        ("memory.available", "100Mi"),
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "0%"),
    ])
    .unwrap();
    assert_eq!(read.kept_free(Signal::MemoryAvailable, 1 << 40), 100 << 20);
    assert_eq!(read.kept_free(Signal::NodeFsAvailable, 1000), 100);
    assert_eq!(read.get(Signal::NodeFsInodesFree), None);
    assert_eq!(read.kept_free(Signal::PidAvailable, 1000), 0);
    for (name, text) in [
        ("cpu.available", "1"),
        ("memory.available", "much"),
        ("memory.available", "-1%"),
        ("memory.available", "101%"),
        ("memory.available", "-5Mi"),
    ] {
        assert!(thresholds(&[(name, text)]).is_err(), "{name} {text}");
    }
}

#[test]
fn threshold_is_met_below_and_not_at_it() {
    let read = thresholds(&[
        ("memory.available", "100"),
        ("nodefs.inodesFree", "5%"),
        ("pid.available", "10"),
        ("imagefs.available", "15%"),
    ])
    .unwrap();
    let mut machine = MachineCapacity {
        memory_bytes: 1000,
        memory_available_bytes: 100,
        pid_max: 100,
        processes: 90,
        ..MachineCapacity::default()
    };
    assert!(!read.is_met(Signal::MemoryAvailable, &machine));
    assert!(!read.is_met(Signal::PidAvailable, &machine));
    machine.memory_available_bytes = 99;
    machine.processes = 91;
    assert!(read.is_met(Signal::MemoryAvailable, &machine));
    assert!(read.is_met(Signal::PidAvailable, &machine));
    // No inodes at all (btrfs), and no observation.
    assert!(!read.is_met(Signal::NodeFsInodesFree, &machine));
    assert!(!read.is_met(Signal::ImageFsAvailable, &machine));
}

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    ConntrackEnsured, HASH_SIZE, MAX, TCP_BE_LIBERAL, TCP_CLOSE_WAIT, TCP_ESTABLISHED, UDP,
    UDP_STREAM, conntrack_writes, ensure_conntrack, liberal_conntrack,
};
use crate::config::conntrack::ConntrackSettings;
use crate::testing::FakeMachine;

fn writes(settings: &ConntrackSettings, current: &[(&str, u64)]) -> BTreeMap<&'static str, u64> {
    let current: BTreeMap<&str, u64> = current.iter().copied().collect();
    conntrack_writes(settings, 8, |knob| current.get(knob.name()).copied())
        .into_iter()
        .map(|(knob, value)| (knob.name(), value))
        .collect()
}

const KERNEL: [(&str, u64); 7] = [
    (MAX, 65_536),
    (TCP_ESTABLISHED, 432_000),
    (TCP_CLOSE_WAIT, 60),
    (TCP_BE_LIBERAL, 0),
    (UDP, 30),
    (UDP_STREAM, 120),
    (HASH_SIZE, 16_384),
];

#[test]
fn defaults_set_size_and_tcp_timeouts_and_leave_the_rest() {
    let found = writes(&ConntrackSettings::default(), &KERNEL);
    let wanted =
        [(MAX, 262_144), (TCP_ESTABLISHED, 86_400), (TCP_CLOSE_WAIT, 3600), (HASH_SIZE, 65_536)];
    assert_eq!(found, wanted.into());
}

#[test]
fn values_that_are_right_are_not_written() {
    let right =
        [(MAX, 262_144), (TCP_ESTABLISHED, 86_400), (TCP_CLOSE_WAIT, 3600), (HASH_SIZE, 1_000_000)];
    assert_eq!(writes(&ConntrackSettings::default(), &right), BTreeMap::new());
}

#[test]
fn zero_leaves_everything_and_configured_values_are_written() {
    let nothing = ConntrackSettings {
        max_per_core: 0,
        tcp_established_timeout: Duration::ZERO,
        tcp_close_wait_timeout: Duration::ZERO,
        ..ConntrackSettings::default()
    };
    assert_eq!(writes(&nothing, &[]), BTreeMap::new());
    let some = ConntrackSettings {
        tcp_be_liberal: true,
        udp_timeout: Duration::from_secs(20),
        udp_stream_timeout: Duration::from_millis(1),
        ..nothing
    };
    let wanted = [(TCP_BE_LIBERAL, 1), (UDP, 20), (UDP_STREAM, 1)];
    assert_eq!(writes(&some, &KERNEL), wanted.into());
}

#[test]
fn read_only_machine_is_no_failure() {
    let machine = FakeMachine::new(&[]);
    machine.set_setting(MAX, "65536");
    machine.make_read_only();
    let settings = ConntrackSettings::default();
    assert_eq!(ensure_conntrack(&settings, &*machine), ConntrackEnsured::Yes);
    assert_eq!(machine.setting(MAX).as_deref(), Some("65536"));
}

#[test]
fn settings_wait_for_the_kernel_to_load_connection_tracking() {
    let machine = FakeMachine::new(&[]);
    machine.set_cpus(8);
    let settings = ConntrackSettings::default();
    assert_eq!(ensure_conntrack(&settings, &*machine), ConntrackEnsured::NotLoaded);
    assert!(machine.take_writes().is_empty());
    machine.set_setting(MAX, "65536");
    assert_eq!(ensure_conntrack(&settings, &*machine), ConntrackEnsured::Yes);
    assert_eq!(machine.setting(MAX).as_deref(), Some("262144"));
    assert_eq!(machine.take_writes().len(), 4);
    assert_eq!(ensure_conntrack(&settings, &*machine), ConntrackEnsured::Yes);
    assert!(machine.take_writes().is_empty());
}

#[test]
fn conntrack_is_liberal_if_configured_or_found_so() {
    let machine = FakeMachine::new(&[]);
    let strict = ConntrackSettings::default();
    let liberal = ConntrackSettings { tcp_be_liberal: true, ..ConntrackSettings::default() };
    assert!(!liberal_conntrack(&strict, &*machine));
    assert!(liberal_conntrack(&liberal, &*machine));
    for (value, expected) in [("0", false), ("1", true)] {
        machine.set_setting(TCP_BE_LIBERAL, value);
        assert_eq!(liberal_conntrack(&strict, &*machine), expected);
    }
}

use std::time::Duration;

use super::super::file::{ConntrackSection, GoDuration};
use super::ConntrackSettings;

#[test]
fn table_grows_with_the_cpus_between_floor_and_cap() {
    let set = |max_per_core, min| ConntrackSettings { max_per_core, min, ..Default::default() };
    let cases = [
        (set(32_768, 131_072), 1, Some(131_072)),
        (set(32_768, 131_072), 8, Some(262_144)),
        (set(32_768, 131_072), 32, Some(1_048_576)),
        (set(32_768, 131_072), 512, Some(1_048_576)),
        (set(u32::MAX, 0), usize::MAX, Some(1_048_576)),
        (set(32_768, 2_000_000), 512, Some(2_000_000)),
        (set(32_768, 0), 1, Some(32_768)),
        (set(1, 131_072), 2, Some(131_072)),
        (set(1, u32::MAX), 2, Some(2_147_483_647)),
        (set(0, 500_000), 8, None),
    ];
    for (settings, cpus, entries) in cases {
        assert_eq!(settings.max_entries(cpus), entries, "{cpus} {settings:?}");
    }
}

#[test]
fn absent_values_have_defaults_and_zero_leaves_the_kernels() {
    let empty = ConntrackSettings::from_section(&ConntrackSection::default());
    assert_eq!(empty, ConntrackSettings::default());
    assert_eq!(empty.tcp_established_timeout, Duration::from_secs(86_400));
    assert_eq!(empty.tcp_close_wait_timeout, Duration::from_secs(3600));
    let section = ConntrackSection {
        max_per_core: Some(0),
        min: Some(-5),
        tcp_established_timeout: Some(GoDuration(Duration::ZERO)),
        udp_timeout: Some(GoDuration(Duration::from_secs(20))),
        tcp_be_liberal: Some(true),
        ..ConntrackSection::default()
    };
    let set = ConntrackSettings::from_section(&section);
    assert_eq!((set.max_per_core, set.min), (0, 0));
    assert_eq!(set.tcp_established_timeout, Duration::ZERO);
    assert_eq!(set.udp_timeout, Duration::from_secs(20));
    assert!(set.tcp_be_liberal);
}

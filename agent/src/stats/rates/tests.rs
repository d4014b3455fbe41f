use super::*;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
}

/// Rates of one cgroup measured at the given times (ms) with the given counts (ms of CPU).
fn rates(measured: &[(i64, u64)]) -> Vec<Option<u64>> {
    let mut before = Rates::default();
    let measure = |(time, used): &(i64, u64)| {
        let mut next = Rates::default();
        let rate = before.measure(&mut next, Path::new("/a"), (at(*time), used * 1_000_000));
        before = next;
        rate
    };
    measured.iter().map(measure).collect()
}

#[test]
fn the_rate_is_what_was_used_over_the_time() {
    assert_eq!(rates(&[(0, 100), (10_000, 5_100)]), [None, Some(500_000_000)]);
    assert_eq!(rates(&[(0, 0), (10_000, 0)]), [None, Some(0)]);
}

#[test]
fn a_look_soon_after_keeps_the_rate_and_the_span() {
    assert_eq!(
        rates(&[(0, 0), (10_000, 1000), (12_000, 3000), (20_000, 11_000)]),
        [None, Some(100_000_000), Some(100_000_000), Some(1_000_000_000)]
    );
    assert_eq!(rates(&[(0, 0), (1_000, 900), (8_000, 8_000)]), [None, None, Some(1_000_000_000)]);
}

#[test]
fn no_rate_is_made_of_what_is_long_ago_or_counts_anew() {
    assert_eq!(rates(&[(0, 0), (121_000, 5_000)]), [None, None]);
    assert_eq!(rates(&[(0, 100), (10_000, 50), (20_000, 60)]), [None, None, Some(1_000_000)]);
    assert_eq!(rates(&[(10_000, 100), (0, 150), (10_000, 160)]), [None, None, Some(1_000_000)]);
}

#[test]
fn what_was_not_measured_again_is_forgotten() {
    let (mut first, mut second) = (Rates::default(), Rates::default());
    Rates::default().measure(&mut first, Path::new("/a"), (at(0), 1));
    first.measure(&mut second, Path::new("/b"), (at(10_000), 1));
    assert_eq!(second.0.len(), 1);
}

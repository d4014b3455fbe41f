use super::*;

#[test]
fn spread_stays_within_its_bounds() {
    let base = Duration::from_secs(10);
    for _ in 0..1000 {
        let longer = lengthened(base, 0.04);
        assert!(base <= longer && longer < Duration::from_millis(10_400));
        let around = half_around(base);
        assert!(Duration::from_secs(5) <= around && around < Duration::from_secs(15));
    }
}

use super::*;

fn period(text: Option<&str>) -> (Option<Duration>, Vec<String>) {
    let wire = KubeletConfiguration {
        volume_stats_agg_period: text.map(str::to_owned),
        ..KubeletConfiguration::default()
    };
    let mut reader = Reader { problems: Vec::new() };
    let config = resolve(&mut reader, &wire);
    (config.volumes_period, reader.problems)
}

#[test]
fn volumes_are_looked_at_once_a_minute_unless_told_otherwise() {
    for (text, expected) in
        [(None, Some(60)), (Some("0s"), Some(60)), (Some("5m0s"), Some(300)), (Some("-1s"), None)]
    {
        assert_eq!(period(text), (expected.map(Duration::from_secs), Vec::new()), "{text:?}");
    }
}

#[test]
fn a_period_that_is_none_is_told() {
    let (_, problems) = period(Some("soon"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("volumeStatsAggPeriod: "), "{problems:?}");
}

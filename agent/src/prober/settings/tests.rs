use super::*;

#[test]
fn fields_that_are_absent_or_not_positive_have_the_apis_defaults() {
    let defaults = Settings {
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
    };
    assert_eq!(Settings::of(&api::Probe::default()), defaults);
    let nonsense = api::Probe {
        initial_delay_seconds: Some(-1),
        period_seconds: Some(0),
        timeout_seconds: Some(-5),
        success_threshold: Some(0),
        failure_threshold: Some(0),
        ..api::Probe::default()
    };
    assert_eq!(Settings::of(&nonsense), defaults);
}

#[test]
fn fields_that_are_set_hold() {
    let probe = api::Probe {
        initial_delay_seconds: Some(7),
        period_seconds: Some(3),
        timeout_seconds: Some(2),
        success_threshold: Some(4),
        failure_threshold: Some(5),
        ..api::Probe::default()
    };
    let expected = Settings {
        initial_delay: Duration::from_secs(7),
        period: Duration::from_secs(3),
        timeout: Duration::from_secs(2),
        success_threshold: 4,
        failure_threshold: 5,
    };
    assert_eq!(Settings::of(&probe), expected);
}

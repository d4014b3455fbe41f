use k8s_openapi::api::core::v1 as api;

use super::*;

fn settings(initial_delay: i32, period: i32) -> Settings {
    Settings::of(&api::Probe {
        initial_delay_seconds: Some(initial_delay),
        period_seconds: Some(period),
        ..api::Probe::default()
    })
}

/// | delay | period | running for | noded for | share | waits |
#[test]
fn first_probe_waits_for_the_initial_delay_and_after_a_restart_for_part_of_the_period() {
    let cases = [
        // A container that noded has started.
        (0, 10, 0.0, 100.0, 0.5, 0.0),
        (5, 10, 0.0, 100.0, 0.5, 5.0),
        (5, 10, 2.0, 100.0, 0.5, 3.0),
        (5, 10, 60.0, 100.0, 0.5, 0.0),
        // Started by noded, which itself has just started.
        (0, 10, 1.0, 2.0, 0.5, 0.0),
        // Found running by noded, which has just started.
        (0, 10, 60.0, 2.0, 0.0, 0.0),
        (0, 10, 60.0, 2.0, 0.5, 5.0),
        (0, 10, 60.0, 2.0, 1.0, 10.0),
        (70, 10, 60.0, 2.0, 0.5, 10.0),
        // Found running, but seen only now.
        (0, 10, 60.0, 10.0, 0.5, 0.0),
    ];
    for (delay, period, running_for, noded_for, share, expected) in cases {
        let begin = Begin {
            running_for: Duration::from_secs_f64(running_for),
            noded_for: Duration::from_secs_f64(noded_for),
            share,
        };
        let wait = first_wait(ProbeKind::Readiness, &settings(delay, period), &begin);
        assert_eq!(wait.as_secs_f64(), expected, "{delay} {period} {begin:?}");
    }
}

/// | kind | delay | running for | waits | a failure then is too early |
#[test]
fn first_moment_of_a_container_is_not_held_against_it() {
    use ProbeKind::{Liveness, Readiness, Startup};
    let cases = [
        (Startup, 0, 0.0, 0.0, true),
        (Startup, 0, 9.9, 0.0, true),
        (Startup, 0, 10.0, 0.0, false),
        (Startup, 5, 0.0, 5.0, false),
        (Readiness, 0, 0.0, 0.0, false),
        (Liveness, 0, 0.0, 10.0, false),
        (Liveness, 0, 4.0, 6.0, false),
        (Liveness, 0, 60.0, 0.0, false),
        (Liveness, 5, 0.0, 5.0, false),
    ];
    for (kind, delay, running_for, expected, too_early) in cases {
        let running_for = Duration::from_secs_f64(running_for);
        let begin = Begin { running_for, noded_for: Duration::from_secs(100), share: 0.5 };
        let settings = settings(delay, 10);
        let wait = first_wait(kind, &settings, &begin);
        assert_eq!(wait.as_secs_f64(), expected, "{kind:?} {delay} {running_for:?}");
        let found = is_too_early(kind, &settings, running_for);
        assert_eq!(found, too_early, "{kind:?} {delay} {running_for:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn probes_keep_their_beat_and_a_late_one_is_not_made_up_for() {
    let due = Instant::now();
    let second = |n: u64| due + Duration::from_secs(n);
    let period = Duration::from_secs(10);
    assert_eq!(next_due(due, second(0), period), second(10));
    assert_eq!(next_due(due, second(9), period), second(10));
    assert_eq!(next_due(due, second(35), period), second(35));
}

use k8s_openapi::api::core::v1 as api;

use super::*;

/// Answers `S`, `F` and `U` in; what the result is after each: `.` while nothing has changed.
fn check(success: i32, failure: i32, answers: &str, expected: &str) {
    let probe = api::Probe {
        success_threshold: Some(success),
        failure_threshold: Some(failure),
        ..api::Probe::default()
    };
    let settings = Settings::of(&probe);
    let mut tally = Tally::default();
    let seen: String = answers
        .chars()
        .map(|answer| {
            let answer = match answer {
                'S' => ProbeResult::Success,
                'F' => ProbeResult::Failure,
                _ => ProbeResult::Unknown,
            };
            match tally.count(answer, &settings) {
                None => '.',
                Some(ProbeResult::Success) => 'S',
                Some(ProbeResult::Failure) => 'F',
                Some(ProbeResult::Unknown) => 'U',
            }
        })
        .collect();
    assert_eq!(seen, expected, "{answers} with {success} and {failure}");
}

#[test]
fn a_result_changes_after_enough_answers_in_a_row() {
    check(1, 3, "S", "S");
    check(1, 3, "FFF", "..F");
    check(1, 3, "FFFF", "..FF");
    check(3, 1, "SSSF", "..SF");
}

#[test]
fn an_answer_of_the_other_kind_begins_a_new_row() {
    check(1, 3, "FFSFFF", "..S..F");
    check(2, 2, "SFSFSS", ".....S");
}

#[test]
fn an_unknown_answer_changes_nothing() {
    check(1, 3, "FUFUF", "....F");
    check(2, 3, "SUS", "..S");
    check(1, 1, "UUU", "...");
}

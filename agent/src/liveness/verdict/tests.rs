use std::time::Duration;

use super::{Sign, silent};

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn a_loop_is_silent_once_its_sign_is_older_than_its_limit() {
    // Ages of two loops with limits of 60 and 180 s, seconds overslept, who is silent.
    let cases: [(u64, u64, u64, &[&str]); 8] = [
        (0, 0, 0, &[]),
        (60, 180, 0, &[]),
        (61, 180, 0, &["short"]),
        (60, 181, 0, &["long"]),
        (61, 181, 0, &["short", "long"]),
        (61, 181, 1, &[]),
        (300, 300, 200, &["short"]),
        (10, 10, 500, &[]),
    ];
    for (short, long, overslept, expected) in cases {
        let signs = [
            Sign { name: "short", age: seconds(short), limit: seconds(60) },
            Sign { name: "long", age: seconds(long), limit: seconds(180) },
        ];
        assert_eq!(silent(&signs, seconds(overslept)), expected, "{short} {long} {overslept}");
    }
}

#[test]
fn nobody_is_silent_when_nobody_is_watched() {
    assert!(silent(&[], seconds(0)).is_empty());
}

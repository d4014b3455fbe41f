use std::time::Duration;

use super::{GoDuration, parse_duration};

#[test]
fn durations_are_read_as_go_spells_them() {
    let cases = [
        ("0", Some(0)),
        ("0s", Some(0)),
        ("1h1m1s", Some(3_661_000)),
        ("1.5s", Some(1500)),
        ("10ms", Some(10)),
        ("", None),
        ("5", None),
        ("-1s", None),
        ("1d", None),
    ];
    for (text, millis) in cases {
        assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
    }
}

#[test]
fn durations_are_told_as_go_tells_them() {
    let cases = [
        (0, "0s"),
        (30_000, "30s"),
        (500, "500ms"),
        (1_500, "1.5s"),
        (90_000, "1m30s"),
        (900_000, "15m0s"),
        (86_400_000, "24h0m0s"),
    ];
    for (millis, text) in cases {
        let duration = Duration::from_millis(millis);
        assert_eq!(GoDuration(duration).to_string(), text);
        assert_eq!(parse_duration(text), Some(duration), "{text}");
    }
}

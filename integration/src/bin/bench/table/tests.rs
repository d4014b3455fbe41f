use std::time::Duration;

use super::{Row, Sample, percentile, render};
use crate::subject::Subject;

fn row(subject: Subject, total: u64, inside: u64) -> Row {
    let (total, inside) = (Duration::from_millis(total), Duration::from_millis(inside));
    Row::new(1, subject, vec![Sample { total, inside }])
}

#[test]
fn percentile_is_a_time_that_was_measured() {
    let cases: [(&[u64], usize, f64); 6] = [
        (&[], 50, 0.0),
        (&[7], 50, 7.0),
        (&[7], 99, 7.0),
        (&[4, 1, 3, 2], 50, 2.0),
        (&[4, 1, 3, 2], 99, 4.0),
        (&[3, 1, 2], 50, 2.0),
    ];
    for (times, percent, expected) in cases {
        let found = percentile(times.iter().copied().map(Duration::from_millis).collect(), percent);
        assert!((found - expected).abs() < 1e-9, "{times:?} at {percent}: {found}");
    }
}

#[test]
fn every_subject_is_compared_with_the_bare_client() {
    let rows = [row(Subject::Noded, 230, 210), row(Subject::Bare, 200, 190)];
    let text = render(&rows);
    let lines: Vec<&str> = text.trim().lines().skip(2).collect();
    assert_eq!(
        lines,
        [
            "| 1 | bare CRI | 200 | 200 | 190 | 10 | +0 | 1.00 |",
            "| 1 | noded | 230 | 230 | 210 | 20 | +30 | 1.15 |",
        ]
    );
}

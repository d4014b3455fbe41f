//! Pure. Figures of pod starts and how they compare.

use std::fmt;
use std::time::Duration;

use crate::subject::Subject;

/// Times of one subject at one number of pods at once.
#[derive(Debug, Clone)]
pub struct Row {
    pods: usize,
    subject: Subject,
    times: Vec<Duration>,
}

impl Row {
    /// The times may come in any order; there is at least one.
    pub fn new(pods: usize, subject: Subject, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { pods, subject, times }
    }

    /// The smallest time that `percent` of all times do not exceed, in milliseconds; zero when
    /// there is none.
    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.pods == 1 { "pod" } else { "pods at once" };
        write!(
            f,
            "{}: {} {plural}: p50 {:.0} ms, p99 {:.0} ms of {}",
            self.subject.name(),
            self.pods,
            self.percentile(50),
            self.percentile(99),
            self.times.len()
        )
    }
}

/// A Markdown table: for each number of pods the bare client first, then the others with what
/// they need beyond it and how they relate to it at p50.
pub fn render(rows: &[Row]) -> String {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| (row.pods, row.subject));
    let mut text = String::from(
        "\n| pods at once | who | Ready p50, ms | p99, ms | inside CRI p50, ms | beyond it, ms | ratio |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in sorted {
        let floor =
            rows.iter().find(|floor| floor.subject == Subject::Bare && floor.pods == row.pods);
        let floor = floor.map_or(f64::NAN, |floor| floor.percentile(50));
        let p50 = row.percentile(50);
        text += &format!(
            "| {} | {} | {p50:.0} | {:.0} | {floor:.0} | {:+.0} | {:.2} |\n",
            row.pods,
            row.subject.name(),
            row.percentile(99),
            p50 - floor,
            p50 / floor,
        );
    }
    text
}

#[cfg(test)]
mod tests;

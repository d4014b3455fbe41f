//! Pure. Figures of pod starts and how they compare.

use std::fmt;
use std::time::Duration;

use crate::subject::Subject;

/// One pod.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// From created to Ready.
    pub total: Duration,
    /// The part inside CRI calls.
    pub inside: Duration,
}

impl Sample {
    fn beyond(&self) -> Duration {
        self.total.saturating_sub(self.inside)
    }
}

/// Times of one subject at one number of pods at once.
#[derive(Debug, Clone)]
pub struct Row {
    pods: usize,
    subject: Subject,
    samples: Vec<Sample>,
}

impl Row {
    /// The samples may come in any order.
    pub fn new(pods: usize, subject: Subject, samples: Vec<Sample>) -> Self {
        Self { pods, subject, samples }
    }

    /// Percentile of what `pick` takes from each sample, in milliseconds.
    fn percentile(&self, percent: usize, pick: impl Fn(&Sample) -> Duration) -> f64 {
        percentile(self.samples.iter().map(pick).collect(), percent)
    }
}

/// The smallest time that `percent` of all times do not exceed, in milliseconds; zero when there
/// is none.
pub fn percentile(mut times: Vec<Duration>, percent: usize) -> f64 {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.pods == 1 { "pod" } else { "pods at once" };
        write!(
            f,
            "{}: {} {plural}: p50 {:.0} ms, p99 {:.0} ms of {}",
            self.subject.name(),
            self.pods,
            self.percentile(50, |sample| sample.total),
            self.percentile(99, |sample| sample.total),
            self.samples.len()
        )
    }
}

/// A Markdown table, all figures in milliseconds: for each number of pods the bare client first,
/// then the others with how they relate to it at p50.
pub fn render(rows: &[Row]) -> String {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| (row.pods, row.subject));
    let mut text = String::from(
        "\n| pods at once | who | Ready p50, ms | p99 | inside CRI calls p50 | beyond them p50 \
         | above bare | ratio to bare |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in sorted {
        let is_floor = |floor: &&Row| floor.subject == Subject::Bare && floor.pods == row.pods;
        let floor = rows.iter().find(is_floor);
        let floor = floor.map_or(f64::NAN, |floor| floor.percentile(50, |sample| sample.total));
        let p50 = row.percentile(50, |sample| sample.total);
        text += &format!(
            "| {} | {} | {p50:.0} | {:.0} | {:.0} | {:.0} | {:+.0} | {:.2} |\n",
            row.pods,
            row.subject.name(),
            row.percentile(99, |sample| sample.total),
            row.percentile(50, |sample| sample.inside),
            row.percentile(50, Sample::beyond),
            p50 - floor,
            p50 / floor,
        );
    }
    text
}

#[cfg(test)]
mod tests;

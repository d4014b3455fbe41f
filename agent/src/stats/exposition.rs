//! Pure. The text format of Prometheus, version 0.0.4, with timestamps.
//!
//! Families come out in the order they were first named, each with its help and type once and all
//! its series together, whatever order the samples were added in. A family without series is left
//! out.

use std::collections::HashMap;
use std::fmt::Write;

use jiff::Timestamp;

#[cfg(test)]
mod tests;

/// Media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Labels in the order they are written; names are ours, values may be anything.
pub type Labels<'a> = [(&'a str, &'a str)];

struct Family {
    name: &'static str,
    head: String,
    series: String,
}

/// A page of metrics that is being written.
#[derive(Default)]
pub struct Exposition {
    families: Vec<Family>,
    known: HashMap<&'static str, usize>,
}

impl Exposition {
    /// Names a family. `help` is one line. Named again, the first stands.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        if self.known.contains_key(name) {
            return;
        }
        let head = format!("# HELP {name} {}\n# TYPE {name} {}\n", escape_help(help), kind.name());
        self.known.insert(name, self.families.len());
        self.families.push(Family { name, head, series: String::new() });
    }

    /// Adds a sample to a family that was named. `at` is when it was read; without it the reader
    /// takes the time of its scrape.
    pub fn sample(
        &mut self,
        name: &'static str,
        labels: &Labels<'_>,
        value: f64,
        at: Option<Timestamp>,
    ) {
        let Some(family) = self.known.get(name).and_then(|at| self.families.get_mut(*at)) else {
            debug_assert!(false, "family {name} was not named");
            return;
        };
        let series = &mut family.series;
        series.push_str(family.name);
        for (position, (label, value)) in labels.iter().enumerate() {
            series.push_str(if position == 0 { "{" } else { "," });
            series.push_str(label);
            series.push_str("=\"");
            push_label_value(series, value);
            series.push('"');
        }
        if !labels.is_empty() {
            series.push('}');
        }
        // Writing to a String cannot fail.
        let _ = match at {
            Some(at) => writeln!(series, " {} {}", number(value), at.as_millisecond()),
            None => writeln!(series, " {}", number(value)),
        };
    }

    /// The page.
    pub fn render(self) -> String {
        let families = self.families.into_iter().filter(|family| !family.series.is_empty());
        families.fold(String::new(), |mut page, family| {
            page.push_str(&family.head);
            page.push_str(&family.series);
            page
        })
    }
}

fn push_label_value(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

fn escape_help(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// Counts and sizes as the format has them; exact up to 2^53, as with every Prometheus client.
#[expect(clippy::cast_precision_loss, reason = "the format knows only floating point")]
pub fn count(value: u64) -> f64 {
    value as f64
}

/// Nanoseconds as seconds.
pub fn seconds(nanoseconds: u64) -> f64 {
    count(nanoseconds) / 1e9
}

/// A point in time as seconds since the epoch.
#[expect(clippy::cast_precision_loss, reason = "the format knows only floating point")]
pub fn epoch_seconds(at: Timestamp) -> f64 {
    at.as_nanosecond() as f64 / 1e9
}

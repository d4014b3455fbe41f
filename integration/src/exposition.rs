//! Pages of metrics: reading them, and what Prometheus and its users would object to.
//!
//! The rules are those of the text format 0.0.4 and of `promtool check metrics`: names, escapes,
//! one HELP and TYPE for each family, its series together and none twice, counters whose names end
//! in `_total` and nothing else that does, whole histograms.

use std::collections::{BTreeMap, BTreeSet, HashSet};

#[cfg(test)]
mod tests;

/// Names that upstream chose before the rules, so they must stay: counters without `_total`, and
/// gauges with it.
const NAMED_OTHERWISE: [&str; 9] = [
    "container_memory_failcnt",
    "container_fs_inodes_total",
    "machine_nvm_capacity",
    "kubelet_certificate_manager_client_expiration_renew_errors",
    "kubelet_evented_pleg_connection_error_count",
    "kubelet_evented_pleg_connection_success_count",
    "kubelet_pleg_discard_events",
    "kubelet_preemptions",
    "kubelet_server_expiration_renew_errors",
];

/// One series with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name with the suffix of a histogram's part.
    pub name: String,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
    /// Milliseconds since the epoch, where the page tells.
    pub at: Option<i64>,
}

impl Sample {
    /// Whether it has these labels, perhaps among others.
    #[must_use]
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|l| l == value))
    }
}

/// A page that was read.
#[derive(Debug, Default)]
pub struct Page {
    /// Every series in the order of the page.
    pub samples: Vec<Sample>,
    /// What is wrong, one line each; empty for a good page.
    pub problems: Vec<String>,
    families: Vec<Family>,
}

#[derive(Debug, Default)]
struct Family {
    name: String,
    kind: Option<String>,
    help: Option<String>,
    samples: Vec<usize>,
}

impl Page {
    /// Reads a page and notes everything that is wrong.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut page = Self::default();
        if !text.is_empty() && !text.ends_with('\n') {
            page.problems.push("the last line has no end".to_owned());
        }
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match line.strip_prefix('#') {
                Some(comment) => page.read_comment(comment),
                None => page.read_sample(line),
            }
        }
        page.check_families();
        page.check_series();
        page
    }

    /// The series of that name with these labels.
    pub fn find<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name && sample.has(labels))
    }

    /// The families that have series: name, type, and the names of the labels of the first series.
    pub fn families(&self) -> impl Iterator<Item = (&str, &str, Vec<&str>)> {
        self.families.iter().filter_map(|family| {
            let first = &self.samples[*family.samples.first()?];
            let labels = first.labels.keys().map(String::as_str).collect();
            Some((&*family.name, family.kind.as_deref()?, labels))
        })
    }

    fn read_comment(&mut self, comment: &str) {
        let mut words = comment.trim_start().splitn(3, ' ');
        let (keyword, name, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
        let (Some(keyword @ ("HELP" | "TYPE")), Some(name)) = (keyword, name) else { return };
        let at = self.families.iter().position(|family| family.name == name);
        let at = at.unwrap_or_else(|| {
            self.families.push(Family { name: name.to_owned(), ..Family::default() });
            self.families.len() - 1
        });
        let family = &mut self.families[at];
        if !family.samples.is_empty() {
            self.problems.push(format!("{name}: {keyword} after its series"));
        }
        let slot = if keyword == "HELP" { &mut family.help } else { &mut family.kind };
        if slot.replace(rest.to_owned()).is_some() {
            self.problems.push(format!("{name}: a second {keyword}"));
        }
    }

    fn read_sample(&mut self, line: &str) {
        let sample = match parse_sample(line) {
            Ok(sample) => sample,
            Err(problem) => return self.problems.push(format!("{problem}: {line}")),
        };
        let belongs = |family: &Family| is_part_of(&sample.name, family);
        let Some(at) = self.families.iter().position(belongs) else {
            self.problems.push(format!("{}: series without TYPE", sample.name));
            return self.samples.push(sample);
        };
        if at + 1 != self.families.len() {
            let problem = format!("{}: its series do not stand together", self.families[at].name);
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        self.families[at].samples.push(self.samples.len());
        self.samples.push(sample);
    }

    fn check_families(&mut self) {
        let mut problems = Vec::new();
        for family in &self.families {
            let name = &family.name;
            if !is_name(name, true) {
                problems.push(format!("{name}: not a name"));
            }
            if family.help.as_deref().is_none_or(|help| help.trim().is_empty()) {
                problems.push(format!("{name}: no HELP"));
            }
            let is_total = name.ends_with("_total");
            match family.kind.as_deref() {
                _ if NAMED_OTHERWISE.contains(&&**name) => {}
                Some("counter") if !is_total => {
                    problems.push(format!("{name}: a counter without _total"));
                }
                Some("gauge" | "histogram" | "summary") if is_total => {
                    problems.push(format!("{name}: _total and no counter"));
                }
                Some("counter" | "gauge" | "histogram" | "summary" | "untyped") => {}
                kind => problems.push(format!("{name}: TYPE {kind:?}")),
            }
            let samples = family.samples.iter().map(|at| &self.samples[*at]);
            let samples: Vec<&Sample> = samples.collect();
            match family.kind.as_deref() {
                Some("histogram") => check_histogram(name, &samples, &mut problems),
                Some("counter") if samples.iter().any(|sample| sample.value < 0.0) => {
                    problems.push(format!("{name}: a counter below 0"));
                }
                _ => {}
            }
        }
        self.problems.extend(problems);
    }

    fn check_series(&mut self) {
        let mut seen = HashSet::new();
        for sample in &self.samples {
            let series = format!("{}{:?}", sample.name, sample.labels);
            if !seen.insert(series.clone()) {
                self.problems.push(format!("twice: {series}"));
            }
        }
    }
}

/// Whether a series of this name belongs to the family.
fn is_part_of(name: &str, family: &Family) -> bool {
    let parts: &[&str] = match family.kind.as_deref() {
        Some("histogram") => &["_bucket", "_sum", "_count"],
        Some("summary") => &["", "_sum", "_count"],
        _ => &[""],
    };
    parts.iter().any(|part| name.strip_suffix(part) == Some(&*family.name))
}

/// Each set of labels must have ascending buckets up to `+Inf`, which equals the count.
fn check_histogram(name: &str, samples: &[&Sample], problems: &mut Vec<String>) {
    let mut groups: BTreeMap<BTreeMap<String, String>, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        groups.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in groups {
        let bound = |sample: &&&Sample| sample.labels.get("le").and_then(|le| number(le));
        let buckets = samples.iter().filter(|sample| sample.name.ends_with("_bucket"));
        let buckets: Vec<(Option<f64>, f64)> =
            buckets.map(|sample| (bound(&sample), sample.value)).collect();
        let ascending = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        let count = samples.iter().find(|sample| sample.name.ends_with("_count"));
        let sum = samples.iter().any(|sample| sample.name.ends_with("_sum"));
        let whole = buckets.last().is_some_and(|(bound, value)| {
            *bound == Some(f64::INFINITY) && count.is_some_and(|count| same(count.value, *value))
        });
        if !ascending || !whole || !sum {
            problems.push(format!("{name}{labels:?}: not a whole histogram"));
        }
    }
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < f64::EPSILON
}

/// `name{label="value",...} value timestamp`.
fn parse_sample(line: &str) -> Result<Sample, &'static str> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if !is_name(name, true) {
        return Err("not a name");
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let mut fields = rest.split_whitespace();
    let value = fields.next().and_then(number).ok_or("not a number")?;
    let at = fields.next().map(str::parse).transpose().map_err(|_| "not a time")?;
    if fields.next().is_some() {
        return Err("more than value and time");
    }
    Ok(Sample { name: name.to_owned(), labels, value, at })
}

/// Labels up to the closing brace, and what comes after it.
fn parse_labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), &'static str> {
    let mut labels = BTreeMap::new();
    let mut names = BTreeSet::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, value) = rest.split_once("=\"").ok_or("labels without an end")?;
        if !is_name(name, false) {
            return Err("not a label name");
        }
        if !names.insert(name.to_owned()) {
            return Err("a label given twice");
        }
        let (value, after) = parse_value(value)?;
        labels.insert(name.to_owned(), value);
        rest = after.strip_prefix(',').unwrap_or(after);
        if rest == after && !after.starts_with('}') {
            return Err("labels without a comma");
        }
    }
}

/// A label's value up to its closing quote, and what comes after it.
fn parse_value(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => return Err("not an escape"),
            },
            other => value.push(other),
        }
    }
    Err("a value without an end")
}

fn is_name(name: &str, colons: bool) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || colons && c == ':';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

//! Pure. Queries of the node's logs, with the kubelet's checks and words (v1.36).

use std::io;

use jiff::Timestamp;
use serde_json::json;

#[cfg(test)]
mod tests;

/// Most services of one query.
const SERVICES: usize = 4;
/// Longest name of a service in bytes.
const SERVICE_LENGTH: usize = 256;
/// Most lines that can be asked for.
const LINES: i64 = 100_000;

/// A query of the node's logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeLogQuery {
    pub services: Vec<String>,
    pub files: Vec<String>,
    pub options: Options,
}

/// What of a service's log is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub lines: Option<i64>,
    pub boot: Option<i64>,
    /// A regular expression; empty is none.
    pub pattern: String,
}

/// The query in these pairs; `None` when there is none. An error is what is wrong with it.
pub(super) fn parse(pairs: &[(String, String)]) -> Result<Option<NodeLogQuery>, String> {
    let first = |name: &str| {
        let value = pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    };
    let asked: Vec<&str> =
        pairs.iter().filter(|(name, _)| name == "query").map(|(_, value)| value.as_str()).collect();
    let mut query = NodeLogQuery::default();
    let mut problems = Vec::new();
    for value in &asked {
        // A slash of either kind means a file.
        if value.contains(['/', '\\']) {
            query.files.push((*value).to_owned());
        } else if !value.trim().is_empty() {
            query.services.push((*value).to_owned());
        }
    }
    if !asked.is_empty() && query.files.is_empty() && query.services.is_empty() {
        problems.push(invalid("query", &json!(asked).to_string(), "may not be empty"));
    }
    let mut time = |name| {
        let text = first(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            problems.push(invalid(name, &quoted(text), "invalid time format"));
        }
        parsed
    };
    query.options.since = time("sinceTime");
    query.options.until = time("untilTime");
    let mut number = |name| {
        let text = first(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let words = format!("strconv.Atoi: parsing {}: invalid syntax", quoted(text));
            problems.push(invalid(name, &quoted(text), &words));
        }
        parsed
    };
    query.options.boot = number("boot");
    query.options.lines = number("tailLines");
    query.options.pattern = first("pattern").unwrap_or_default().to_owned();
    all(problems)?;
    Ok((query != NodeLogQuery::default()).then_some(query))
}

impl NodeLogQuery {
    /// Checks what was parsed. `missing` is why the one file cannot be had, if it cannot.
    pub fn validate(&self, missing: Option<&io::Error>) -> Result<(), String> {
        let mut problems = Vec::new();
        for service in &self.services {
            if let Some(words) = unsafe_name(service) {
                problems.push(invalid("query", &quoted(service), &words));
            }
        }
        if self.services.len() > SERVICES {
            let count = self.services.len();
            problems.push(format!("query: Too many: {count}: must have at most {SERVICES} items"));
        }
        problems.extend(self.target_problem(missing));
        let Options { since, until, lines, boot, pattern } = &self.options;
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            let until = quoted(&until.to_string());
            problems.push(invalid("untilTime", &until, "must be after `sinceTime`"));
        }
        if let Some(boot) = boot.filter(|boot| *boot > 0) {
            problems.push(invalid("boot", &boot.to_string(), "must be less than 1"));
        }
        if let Some(lines) = lines.filter(|lines| !(0..=LINES).contains(lines)) {
            let words = format!("must be between 0 and {LINES}, inclusive");
            problems.push(invalid("tailLines", &lines.to_string(), &words));
        }
        if let Err(error) = regex_syntax::parse(pattern) {
            let words = format!("error parsing regexp: {}", last_line(&error.to_string()));
            problems.push(invalid("pattern", &quoted(pattern), &words));
        }
        all(problems)
    }

    /// What is wrong with the choice of services or files.
    fn target_problem(&self, missing: Option<&io::Error>) -> Option<String> {
        let files = json!(self.files).to_string();
        match (self.files.len(), self.services.len()) {
            (0, 0) => Some("query: Required value: cannot be empty with options".to_owned()),
            (0, _) => None,
            (_, 1..) => {
                let both = format!("[{}], [{}]", self.files.join(" "), self.services.join(" "));
                Some(invalid("query", &quoted(&both), "cannot specify a file and service"))
            }
            (2.., _) => Some(invalid("query", &files, "cannot specify more than one file")),
            _ if self.options != Options::default() => {
                Some(invalid("query", &files, "cannot specify file with options"))
            }
            _ => missing.map(|error| {
                let name = &self.files[0];
                let words = match error.kind() {
                    io::ErrorKind::NotFound => {
                        format!("statat {name}: no such file or directory")
                    }
                    _ => format!("statat {name}: {error}"),
                };
                invalid("query", &files, &words)
            }),
        }
    }

    /// The arguments that journalctl shows these services with. All names are checked.
    pub fn journal_arguments(&self, services: &[String]) -> Vec<String> {
        let Options { since, until, lines, boot, pattern } = &self.options;
        // journalctl takes the time without its zone; --utc says which.
        let time = |at: &Timestamp| at.strftime("%Y-%-m-%-d %-H:%-M:%-S").to_string();
        let mut arguments: Vec<String> =
            ["--utc", "--no-pager", "--output=short-precise"].map(ToOwned::to_owned).into();
        arguments.extend(since.as_ref().map(|at| format!("--since={}", time(at))));
        arguments.extend(until.as_ref().map(|at| format!("--until={}", time(at))));
        if let Some(lines) = lines {
            arguments.extend(["--pager-end".to_owned(), format!("--lines={lines}")]);
        }
        arguments.extend(services.iter().map(|service| format!("--unit={service}")));
        if !pattern.is_empty() {
            arguments.push(format!("--grep={pattern}"));
        }
        if let Some(boot) = boot {
            arguments.extend(["--boot".to_owned(), boot.to_string()]);
        }
        arguments
    }
}

/// Why a name may not be handed to a program; `None` when it may.
fn unsafe_name(service: &str) -> Option<String> {
    if service.len() > SERVICE_LENGTH {
        return Some(format!("length must be less than {SERVICE_LENGTH}"));
    }
    let is_safe = |letter: char| {
        letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | ':' | '@')
    };
    (!service.chars().all(is_safe)).then(|| "input contains unsupported characters".to_owned())
}

fn invalid(field: &str, value: &str, words: &str) -> String {
    format!("{field}: Invalid value: {value}: {words}")
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default().trim()
}

/// One problem as it is, several in brackets.
fn all(problems: Vec<String>) -> Result<(), String> {
    match problems.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

//! Pure. Which part of a container's log a caller wants: the query of `/containerLogs`.
//! Source: Kubernetes v1.36 `v1.PodLogOptions`, its conversion from a query,
//! `ValidatePodLogOptions`. `insecureSkipTLSVerifyBackend` is the API server's business.

use jiff::{SignedDuration, Timestamp};

use super::cri_log::{Nanoseconds, Selection, Stream};

#[cfg(test)]
mod tests;

/// Why a query is no wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadOptions {
    /// A value has the wrong form.
    Undecodable,
    /// A value is out of range, or two exclude each other.
    Invalid,
}

/// What of a container's log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what the container writes from now on.
    pub follow: bool,
    /// Of the instance that ended before this one.
    pub previous: bool,
    /// Only the last lines; `None` is all.
    pub tail: Option<u64>,
    /// `lines` is not set here.
    pub selection: Selection,
}

/// The values of a query by name; of several the first counts.
struct Query<'a>(&'a [(String, String)]);

impl<'a> Query<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All is true but `0`, `false` and what is not there.
    fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    fn number(&self, name: &str) -> Result<Option<i64>, BadOptions> {
        let number = self.get(name).map(str::parse);
        number.transpose().map_err(|_| BadOptions::Undecodable)
    }
}

/// Reads the pairs of a query; names that are not known do not matter. `now` is what seconds count
/// back from.
pub fn parse_options(pairs: &[(String, String)], now: Timestamp) -> Result<LogOptions, BadOptions> {
    let query = Query(pairs);
    let tail = match query.get("tail").filter(|tail| !tail.is_empty()) {
        None => query.number("tailLines")?,
        Some("all") => None,
        Some(tail) => Some(tail.parse::<i64>().map_err(|_| BadOptions::Undecodable)?),
    };
    let limit = query.number("limitBytes")?;
    let since_seconds = query.number("sinceSeconds")?;
    let since_time = query.get("sinceTime");
    let since_time_value = since_time.map(parse_time).transpose()?.flatten();
    let stream = match query.get("stream") {
        None | Some("All") => None,
        Some("Stdout") => Some(Stream::Stdout),
        Some("Stderr") => Some(Stream::Stderr),
        Some(_) => return Err(BadOptions::Invalid),
    };
    let is_invalid = tail.is_some_and(|lines| lines < 0)
        || limit.is_some_and(|bytes| bytes < 1)
        || since_seconds.is_some_and(|seconds| seconds < 1)
        || (since_seconds.is_some() && since_time.is_some())
        || (tail.is_some() && stream.is_some());
    if is_invalid {
        return Err(BadOptions::Invalid);
    }
    let since_seconds = since_seconds.map(|seconds| before(now, seconds));
    Ok(LogOptions {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        tail: tail.and_then(|lines| u64::try_from(lines).ok()),
        selection: Selection {
            stream,
            since: since_seconds.or(since_time_value),
            timestamps: query.flag("timestamps"),
            limit_bytes: limit.and_then(|bytes| u64::try_from(bytes).ok()),
            lines: None,
        },
    })
}

/// Empty and `null` stand for no time; old clients send them.
fn parse_time(text: &str) -> Result<Option<Nanoseconds>, BadOptions> {
    if text.is_empty() || text == "null" {
        return Ok(None);
    }
    let time: Timestamp = text.parse().map_err(|_| BadOptions::Undecodable)?;
    Ok(Some(time.as_nanosecond()))
}

/// So many seconds before `now`; the beginning of time when that is out of range.
fn before(now: Timestamp, seconds: i64) -> Nanoseconds {
    let then = now.checked_sub(SignedDuration::from_secs(seconds));
    then.unwrap_or(Timestamp::MIN).as_nanosecond()
}

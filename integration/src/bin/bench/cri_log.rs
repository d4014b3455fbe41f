//! Pure. How long containerd's CRI calls for each pod took, from containerd's own log.
//!
//! containerd 2 writes a line when a call begins and one when it returns.

use std::collections::HashMap;
use std::time::Duration;

/// Time inside `RunPodSandbox`, `CreateContainer` and `StartContainer` for each pod of one
/// container, by the pod's name. Calls that failed or have not returned are left out.
pub fn times(log: &str) -> HashMap<String, Duration> {
    let mut reader = Reader::default();
    for line in log.lines() {
        if let Some((at, message)) = parse_line(line) {
            reader.read(at, &message);
        }
    }
    reader.times
}

/// Which pod an id belongs to, and when its running call began.
#[derive(Default)]
struct Reader {
    pods: HashMap<String, String>,
    begun: HashMap<String, Duration>,
    times: HashMap<String, Duration>,
}

impl Reader {
    fn read(&mut self, at: Duration, message: &str) {
        let (call, rest) = message.split_once(' ').unwrap_or_default();
        let pod = match call {
            "RunPodSandbox" => between(rest, "for name:\"", "\"").map(str::to_owned),
            "CreateContainer" => self.pod_of(between(rest, "within sandbox \"", "\"")),
            "StartContainer" => self.pod_of(between(rest, "for \"", "\"")),
            _ => None,
        };
        let Some(pod) = pod else { return };
        let Some((_, returned)) = rest.split_once(" returns ") else {
            self.begun.insert(pod, at);
            return;
        };
        let Some(began) = self.begun.remove(&pod) else { return };
        if let Some(id) = between(returned, " id \"", "\"") {
            self.pods.insert(id.to_owned(), pod.clone());
        }
        *self.times.entry(pod).or_default() += since(began, at);
    }

    fn pod_of(&self, id: Option<&str>) -> Option<String> {
        self.pods.get(id?).cloned()
    }
}

/// Time of day and message of a log line.
fn parse_line(line: &str) -> Option<(Duration, String)> {
    let stamp = between(line, "time=\"", "\"")?;
    let message = line.split_once("msg=\"")?.1.strip_suffix('"')?;
    Some((time_of_day(stamp)?, message.replace("\\\"", "\"")))
}

/// `2026-01-31T12:30:00.5Z` is 12 h 30 min and 0.5 s.
fn time_of_day(stamp: &str) -> Option<Duration> {
    let mut parts = stamp.split_once('T')?.1.strip_suffix('Z')?.split(':');
    let hours: f64 = parts.next()?.parse().ok()?;
    let minutes: f64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    Duration::try_from_secs_f64((hours * 60.0 + minutes) * 60.0 + seconds).ok()
}

/// From one time of day to a later one, which may be on the next day.
fn since(began: Duration, at: Duration) -> Duration {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    at.checked_sub(began).unwrap_or_else(|| (at + DAY).saturating_sub(began))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests;

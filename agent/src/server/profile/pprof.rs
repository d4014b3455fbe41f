//! Pure. Processor time of threads as a profile in pprof's format.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use prost::Message;

use crate::adapters::linux::Thread;

#[cfg(test)]
mod tests;

/// `perftools.profiles.Profile`, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// Texts are told by their place in here; the first one is empty.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ValueType {
    #[prost(int64, tag = "1")]
    pub kind: i64,
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// A value with the stack it was found on, the innermost first.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Location {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Line {
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Function {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(int64, tag = "2")]
    pub name: i64,
}

/// The profile of what the threads used between two looks, `duration` apart from `began` on.
/// Threads of one name count together, each with what it used in the program (`user`) and in the
/// kernel (`system`).
pub(super) fn profile(
    before: &[Thread],
    after: &[Thread],
    began: Timestamp,
    duration: Duration,
) -> Vec<u8> {
    let mut made = Builder::default();
    let cpu = ValueType { kind: made.text("cpu"), unit: made.text("nanoseconds") };
    for (name, user, system) in used(before, after) {
        for (part, time) in [("user", user), ("system", system)] {
            if !time.is_zero() {
                let stack = vec![made.location(part), made.location(&name)];
                made.profile.sample.push(Sample { location_id: stack, value: vec![nanos(time)] });
            }
        }
    }
    made.profile.sample_type = vec![cpu];
    made.profile.period_type = Some(cpu);
    made.profile.period = 1;
    made.profile.time_nanos = i64::try_from(began.as_nanosecond()).unwrap_or(i64::MAX);
    made.profile.duration_nanos = nanos(duration);
    made.profile.encode_to_vec()
}

/// What threads of each name used, in the order of the names. One that is new has used all it
/// shows; what one that has ended used is not known.
fn used(before: &[Thread], after: &[Thread]) -> Vec<(String, Duration, Duration)> {
    let mut sums: std::collections::BTreeMap<&str, (Duration, Duration)> = Default::default();
    for thread in after {
        let known = before.iter().find(|known| known.id == thread.id);
        let (user, system) = known.map(|known| (known.user, known.system)).unwrap_or_default();
        let sum = sums.entry(&thread.name).or_default();
        sum.0 += thread.user.saturating_sub(user);
        sum.1 += thread.system.saturating_sub(system);
    }
    sums.into_iter().map(|(name, (user, system))| (name.to_owned(), user, system)).collect()
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

struct Builder {
    profile: Profile,
    locations: HashMap<String, u64>,
}

impl Default for Builder {
    fn default() -> Self {
        let profile = Profile { string_table: vec![String::new()], ..Profile::default() };
        Self { profile, locations: HashMap::new() }
    }
}

impl Builder {
    fn text(&mut self, text: &str) -> i64 {
        let table = &mut self.profile.string_table;
        let at = table.iter().position(|known| known == text).unwrap_or_else(|| {
            table.push(text.to_owned());
            table.len() - 1
        });
        i64::try_from(at).unwrap_or_default()
    }

    /// The place of that name; ids begin with 1.
    fn location(&mut self, name: &str) -> u64 {
        if let Some(id) = self.locations.get(name) {
            return *id;
        }
        let id = self.locations.len() as u64 + 1;
        let name_at = self.text(name);
        self.profile.function.push(Function { id, name: name_at });
        self.profile.location.push(Location { id, line: vec![Line { function_id: id }] });
        self.locations.insert(name.to_owned(), id);
        id
    }
}

/// The threads with what they have used since they began.
pub(super) fn listed(threads: &[Thread]) -> String {
    let lines = threads.iter().map(|thread| {
        let (user, system) = (thread.user.as_secs_f64(), thread.system.as_secs_f64());
        format!("{} {} user {user:.2}s system {system:.2}s\n", thread.id, thread.name)
    });
    format!("threads: {}\n{}", threads.len(), lines.collect::<String>())
}

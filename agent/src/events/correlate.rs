//! Pure. Decides what becomes of an event: a new object, one more count on an old one, or nothing.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;

use crate::boundary::ApiEvent;
use crate::reason::proxy_event;

/// Who reports, as events name it.
#[derive(Clone, Copy, Debug)]
pub struct Reporter {
    /// `source.component` and `reportingComponent`.
    component: &'static str,
    /// `action` for each reason that has one.
    actions: &'static [(&'static str, &'static str)],
}

/// The kubelet's part of the daemon.
pub const KUBELET: Reporter = Reporter { component: "kubelet", actions: &[] };
/// The proxy's part of the daemon. Actions as kube-proxy's (v1.36).
pub const KUBE_PROXY: Reporter = Reporter {
    component: "kube-proxy",
    actions: &[
        (proxy_event::STARTING, "StartKubeProxy"),
        (proxy_event::FAILED_TO_START_PROXIER_HEALTHCHECK, "StartKubeProxy"),
        (proxy_event::FAILED_TO_START_METRIC_SERVER, "StartKubeProxy"),
        (proxy_event::FAILED_TO_START_SERVICE_HEALTHCHECK, "Listen"),
    ],
};

/// Events about one object before the spam filter closes (client-go default).
const SPAM_BURST: f64 = 25.0;
/// Seconds until the filter lets one more through (client-go default: one in 5 min).
const SPAM_REFILL_SECONDS: f64 = 300.0;
/// Different messages of one kind before they are combined (client-go default).
const COMBINE_AFTER: usize = 10;
/// Seconds without an event of a kind after which its messages are forgotten (client-go default).
const COMBINE_SECONDS: i64 = 600;
/// Entries each memory holds (client-go default).
const REMEMBERED: usize = 4096;
const COMBINED_PREFIX: &str = "(combined from similar events): ";
/// Longest name of an API object (DNS subdomain, API v1).
const NAME_LENGTH: usize = 253;

impl Reporter {
    fn action(self, reason: &str) -> Option<String> {
        let found = self.actions.iter().find(|(known, _)| *known == reason);
        found.map(|(_, action)| (*action).to_owned())
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ObjectKey {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    api_version: String,
}

/// Events that differ in their message only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GroupKey {
    object: ObjectKey,
    warning: bool,
    reason: &'static str,
}

/// Events that count as the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeenKey {
    group: GroupKey,
    /// Field path and message; `None` for the combined event of the group.
    single: Option<(String, String)>,
}

/// What to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Correlated {
    /// A new object.
    Create { key: SeenKey, event: Box<api::Event> },
    /// One more of an object sent before. `event` is the whole of it, in case it is gone from the
    /// server.
    Patch { key: SeenKey, event: Box<api::Event>, patch: serde_json::Value },
    /// Too many about this object.
    Spam,
}

struct Group {
    messages: BTreeSet<String>,
    last: Timestamp,
}

struct Seen {
    name: String,
    first: Timestamp,
    count: i32,
}

struct Bucket {
    tokens: f64,
    filled_at: Timestamp,
}

/// Memory of recent events of one node.
pub struct Correlator {
    reporter: Reporter,
    node_name: String,
    groups: Recent<GroupKey, Group>,
    seen: Recent<SeenKey, Seen>,
    buckets: Recent<ObjectKey, Bucket>,
    /// Nanoseconds in the newest name, so that two events at one instant get two names.
    last_name: i128,
}

impl Correlator {
    pub fn new(reporter: Reporter, node_name: &str) -> Self {
        Self {
            reporter,
            node_name: node_name.to_owned(),
            groups: Recent::new(),
            seen: Recent::new(),
            buckets: Recent::new(),
            last_name: 0,
        }
    }

    /// Takes an event in and says what to send. Its own time is the only clock.
    pub fn correlate(&mut self, event: &ApiEvent) -> Correlated {
        let group = GroupKey {
            object: object_key(&event.object),
            warning: event.warning,
            reason: event.reason,
        };
        let combined = self.is_combined(&group, event);
        let message = match combined {
            true => format!("{COMBINED_PREFIX}{}", event.message),
            false => event.message.clone(),
        };
        let single = (!combined)
            .then(|| (event.object.field_path.clone().unwrap_or_default(), event.message.clone()));
        let key = SeenKey { group, single };
        let sent = self.observe(&key, event, message);
        match self.is_spam(&key.group.object, event.at) {
            true => Correlated::Spam,
            false => sent(key),
        }
    }

    /// Remembers what the server made of an event: from now on its name and count hold.
    pub fn stored(&mut self, key: &SeenKey, event: &api::Event) {
        let Some(seen) = self.seen.get_mut(key) else { return };
        if let Some(name) = &event.metadata.name {
            seen.name.clone_from(name);
        }
        if let Some(Time(first)) = event.first_timestamp {
            seen.first = first;
        }
        seen.count = event.count.unwrap_or(seen.count);
    }

    /// Counts different messages of a group; from the tenth on they are told as one.
    fn is_combined(&mut self, key: &GroupKey, event: &ApiEvent) -> bool {
        let fresh = || Group { messages: BTreeSet::new(), last: event.at };
        let group = self.groups.entry(key, fresh);
        if event.at.as_second() - group.last.as_second() > COMBINE_SECONDS {
            *group = fresh();
        }
        group.last = event.at;
        group.messages.insert(event.message.clone());
        if group.messages.len() < COMBINE_AFTER {
            return false;
        }
        // One place is kept free, so that the set cannot grow beyond its use.
        group.messages.pop_first();
        true
    }

    fn observe(
        &mut self,
        key: &SeenKey,
        event: &ApiEvent,
        message: String,
    ) -> impl FnOnce(SeenKey) -> Correlated + use<> {
        let name = self.new_name(event);
        let fresh = || Seen { name, first: event.at, count: 0 };
        let seen = self.seen.entry(key, fresh);
        seen.count = seen.count.saturating_add(1);
        let repeated = seen.count > 1;
        let object = Box::new(event_object((self.reporter, &self.node_name), event, seen, message));
        move |key| match repeated {
            false => Correlated::Create { key, event: object },
            true => {
                let patch = json!({
                    "count": object.count,
                    "lastTimestamp": object.last_timestamp,
                    "message": object.message,
                });
                Correlated::Patch { key, event: object, patch }
            }
        }
    }

    fn is_spam(&mut self, object: &ObjectKey, at: Timestamp) -> bool {
        let bucket = self.buckets.entry(object, || Bucket { tokens: SPAM_BURST, filled_at: at });
        let seconds = at.duration_since(bucket.filled_at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + seconds / SPAM_REFILL_SECONDS).min(SPAM_BURST);
        bucket.filled_at = bucket.filled_at.max(at);
        if bucket.tokens < 1.0 {
            return true;
        }
        bucket.tokens -= 1.0;
        false
    }

    /// `<object>.<hex of the time in nanoseconds>`, the object's name cut so that all fits.
    fn new_name(&mut self, event: &ApiEvent) -> String {
        self.last_name = event.at.as_nanosecond().max(self.last_name + 1);
        let suffix = format!(".{:x}", self.last_name);
        let object = event.object.name.as_deref().unwrap_or_default();
        // Names of API objects are ASCII, so every byte is a place to cut.
        let fits = object.get(..NAME_LENGTH - suffix.len()).unwrap_or(object);
        format!("{}{suffix}", fits.trim_end_matches(['.', '-']))
    }
}

fn event_object(
    (reporter, node_name): (Reporter, &str),
    event: &ApiEvent,
    seen: &Seen,
    message: String,
) -> api::Event {
    let namespace = event.object.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    api::Event {
        metadata: ObjectMeta {
            name: Some(seen.name.clone()),
            // Where events about objects without a namespace live.
            namespace: Some(namespace.unwrap_or("default").to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: event.object.clone(),
        type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(event.reason.to_owned()),
        message: Some(message),
        count: Some(seen.count),
        first_timestamp: Some(Time(seen.first)),
        last_timestamp: Some(Time(event.at)),
        source: Some(api::EventSource {
            component: Some(reporter.component.to_owned()),
            host: Some(node_name.to_owned()),
        }),
        action: reporter.action(event.reason),
        reporting_component: Some(reporter.component.to_owned()),
        reporting_instance: Some(node_name.to_owned()),
        ..api::Event::default()
    }
}

fn object_key(object: &api::ObjectReference) -> ObjectKey {
    ObjectKey {
        kind: object.kind.clone().unwrap_or_default(),
        namespace: object.namespace.clone().unwrap_or_default(),
        name: object.name.clone().unwrap_or_default(),
        uid: object.uid.clone().unwrap_or_default(),
        api_version: object.api_version.clone().unwrap_or_default(),
    }
}

/// A map that forgets the entry unused for longest when it is full.
struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    uses: u64,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    fn new() -> Self {
        Self { entries: HashMap::new(), uses: 0 }
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    fn entry(&mut self, key: &K, fresh: impl FnOnce() -> V) -> &mut V {
        self.uses += 1;
        if self.entries.len() >= REMEMBERED && !self.entries.contains_key(key) {
            let oldest =
                self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        let entry = self.entries.entry(key.clone()).or_insert_with(|| (0, fresh()));
        entry.0 = self.uses;
        &mut entry.1
    }
}

#[cfg(test)]
mod tests;

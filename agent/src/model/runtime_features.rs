//! What the container runtime says it can do; the words are CRI's.

use std::collections::BTreeMap;

/// What one runtime handler can do. Nothing, where the runtime does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandlerFeatures {
    /// Mounts can be made read-only with everything mounted below them.
    pub recursive_read_only_mounts: bool,
    /// Pods can have a user namespace of their own.
    pub user_namespaces: bool,
}

/// What the runtime says of itself and its handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeFeatures {
    /// By name; the default handler has the empty name. Empty for a runtime that does not tell its
    /// handlers (containerd before 2.0).
    pub handlers: BTreeMap<String, HandlerFeatures>,
    /// Whether `supplementalGroupsPolicy` is honoured; `None` when the runtime does not say
    /// (containerd before 2.0).
    pub supplemental_groups_policy: Option<bool>,
}

impl RuntimeFeatures {
    /// What the handler can do; nothing when it is not known.
    pub fn of_handler(&self, name: &str) -> HandlerFeatures {
        self.handlers.get(name).copied().unwrap_or_default()
    }
}

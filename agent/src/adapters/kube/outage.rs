//! What the log says of a watch in trouble.

/// The server does not permit it.
pub(super) const FORBIDDEN: &str = "forbidden";
/// The server is away, or the way to it.
pub(super) const UNAVAILABLE: &str = "unavailable";

/// How loud a watch complains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The node cannot work without it.
    Warn,
    /// One of many: when the server is away, others say so already.
    Debug,
    /// The node works without it.
    Optional,
    /// Needs a permission that a cluster gives by hand; the text says how.
    NeedsPermission(&'static str),
}

/// Tells of an outage once at its beginning, again when its kind changes, and of its end.
pub(super) struct Outage {
    trouble: Trouble,
    /// Kind of the error last told; `None` while nothing was told.
    told: Option<&'static str>,
}

impl Outage {
    pub(super) fn new(trouble: Trouble) -> Self {
        Self { trouble, told: None }
    }

    /// Takes in one failure; `kind` decides whether the log has it already.
    pub(super) fn report(&mut self, subject: &str, kind: &'static str, cause: &str) {
        if self.told == Some(kind) {
            tracing::debug!(subject, cause, "watch fails still");
            return;
        }
        self.told = Some(kind);
        match (self.trouble, kind) {
            (Trouble::NeedsPermission(fix), FORBIDDEN) => {
                tracing::error!(subject, cause, fix, "watch is not permitted");
            }
            (Trouble::Debug, UNAVAILABLE) | (Trouble::Optional, _) => {
                tracing::debug!(subject, cause, "watch fails")
            }
            _ => tracing::warn!(subject, cause, "watch fails, trying again"),
        }
    }

    /// Takes in that all is well.
    pub(super) fn end(&mut self, subject: &str) {
        if self.told.take().is_some() {
            match self.trouble {
                Trouble::Debug | Trouble::Optional => {
                    tracing::debug!(subject, "watch works again");
                }
                _ => tracing::info!(subject, "watch works again"),
            }
        }
    }
}

//! Pure. Pull, use, or fail.

use super::reference::ImageReference;

/// `imagePullPolicy` of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// What to do about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullDecision {
    UsePresent,
    Pull,
    /// Absent, and the pod forbids pulling.
    Refuse,
}

impl PullPolicy {
    /// The policy of that name. An absent or unknown one is what the API defaults to: Always for
    /// the tag `latest`, else IfNotPresent.
    pub fn of(name: Option<&str>, image: &ImageReference) -> Self {
        match name {
            Some("Always") => Self::Always,
            Some("IfNotPresent") => Self::IfNotPresent,
            Some("Never") => Self::Never,
            _ if image.tag.as_deref() == Some("latest") => Self::Always,
            _ => Self::IfNotPresent,
        }
    }

    pub fn decide(self, present: bool) -> PullDecision {
        match (self, present) {
            (Self::Always, _) | (Self::IfNotPresent, false) => PullDecision::Pull,
            (Self::IfNotPresent | Self::Never, true) => PullDecision::UsePresent,
            (Self::Never, false) => PullDecision::Refuse,
        }
    }
}

//! Who started this process and watches over it: systemd, or nobody.

use std::time::Duration;

/// What is told to it. Nothing fails: a message that nobody takes is no trouble.
pub trait Supervisor: Send + Sync {
    /// The service is up; told once.
    fn ready(&self);

    /// A line for people who ask how the service is.
    fn status(&self, line: &str);

    /// A sign of life.
    fn alive(&self);

    /// Within what time it wants a sign of life; `None`: it does not care.
    fn watchdog_period(&self) -> Option<Duration>;
}

//! systemd's notification socket. Without one, which is without systemd, nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::boundary::Supervisor;

/// The service manager that `NOTIFY_SOCKET` leads to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Systemd;

impl Systemd {
    /// The service is about to end on its own account.
    pub fn stopping(self) {
        tell(&NotifyState::Stopping);
    }

    /// A start that takes long is no hang: it may take so much longer.
    pub fn extend_start(self, microseconds: u32) {
        tell(&NotifyState::ExtendTimeoutUsec(microseconds));
    }
}

impl Supervisor for Systemd {
    fn ready(&self) {
        tell(&NotifyState::Ready);
    }

    fn status(&self, line: &str) {
        // A line end would begin another message.
        tell(&NotifyState::Status(&line.replace(['\n', '\r'], " ")));
    }

    fn alive(&self) {
        tell(&NotifyState::Watchdog);
    }

    fn watchdog_period(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }
}

fn tell(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::debug!(%error, "systemd does not take a message");
    }
}

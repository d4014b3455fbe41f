//! Pure. The room that last words of containers get in a pod's status.
//! Source: kubelet v1.36 `status/status_manager.go`.

use k8s_openapi::api::core::v1 as api;

use super::statuses::Statuses;

#[cfg(test)]
mod tests;

/// Bytes of all messages of terminated containers together (kubelet v1.36, 12 KiB).
const ROOM: usize = 12 * 1024;

/// Cuts each message of a terminated container to its container's equal share of the room, at the
/// end of a character.
pub(super) fn limit_messages(statuses: &mut Statuses) {
    let count = statuses.init.len() + statuses.regular.len() + statuses.ephemeral.len();
    let share = ROOM / count.max(1);
    let lists = [&mut statuses.init, &mut statuses.regular, &mut statuses.ephemeral];
    for status in lists.into_iter().flatten() {
        for state in [&mut status.state, &mut status.last_state].into_iter().flatten() {
            cut(state, share);
        }
    }
}

fn cut(state: &mut api::ContainerState, share: usize) {
    let message = state.terminated.as_mut().and_then(|ended| ended.message.as_mut());
    let Some(message) = message.filter(|message| message.len() > share) else { return };
    let end = message.floor_char_boundary(share);
    message.truncate(end);
}

//! Pure. The channels of a remote command inside WebSocket messages, version 5: the first byte of
//! a message is the channel, and 255 before a channel closes it.

/// Standard input of the command.
pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
/// How the command ended, as a Status.
pub const ERROR: u8 = 3;
/// Sizes of the terminal.
pub const RESIZE: u8 = 4;
const CHANNELS: u8 = 5;
/// First byte of a message that closes a channel.
const CLOSE: u8 = 255;

/// What a piece of a message is for. Pieces that are for nobody give no event.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// For the channel; never empty.
    Bytes {
        channel: u8,
        bytes: &'a [u8],
    },
    Closed(u8),
}

/// The message does not say which channel it closes, or one that there is not. The kubelet ends the
/// connection then (v1.36).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message closes no channel")]
pub struct ChannelError;

/// Tells the channels of messages that arrive in pieces apart.
#[derive(Debug, Default)]
pub struct Channels {
    message: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Begins,
    Of(u8),
    Closes(Option<u8>),
}

impl Channels {
    /// What this piece of a message brings.
    pub fn take<'a>(
        &mut self,
        mut bytes: &'a [u8],
        last: bool,
    ) -> Result<Option<Event<'a>>, ChannelError> {
        if let (State::Begins, [first, rest @ ..]) = (self.message, bytes) {
            self.message = if *first == CLOSE { State::Closes(None) } else { State::Of(*first) };
            bytes = rest;
        }
        let event = match self.message {
            State::Begins => None,
            State::Of(channel) => {
                let known = channel < CHANNELS && !bytes.is_empty();
                known.then_some(Event::Bytes { channel, bytes })
            }
            State::Closes(target) => {
                let target = match (target, bytes) {
                    (target, []) => target,
                    (None, [target]) => Some(*target),
                    _ => return Err(ChannelError),
                };
                self.message = State::Closes(target);
                match target {
                    _ if !last => None,
                    Some(channel) if channel < CHANNELS => Some(Event::Closed(channel)),
                    _ => return Err(ChannelError),
                }
            }
        };
        if last {
            self.message = State::Begins;
        }
        Ok(event)
    }
}

#[cfg(test)]
mod tests;

//! Pure. Which channel of a client is which stream of the runtime, and what a command came to.

use serde_json::{Value, json};

use super::channels;
use crate::boundary::ContainerStreams;

#[cfg(test)]
mod tests;

/// The error stream, opened first.
const ERROR_STREAM: u32 = 1;
/// What is kept of the error stream: a Status of a few hundred bytes.
const STATUS_LIMIT: usize = 64 * 1024;

/// The streams of a command, by their numbers at the runtime. Ours are odd and grow (SPDY 2.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lanes {
    /// Number, type and the client's channel, in the order of opening.
    lanes: Vec<(u32, &'static str, u8)>,
}

impl Lanes {
    pub fn new(streams: ContainerStreams) -> Self {
        let kinds = [
            (true, "error", channels::ERROR),
            (streams.stdin, "stdin", channels::STDIN),
            (streams.stdout, "stdout", channels::STDOUT),
            (streams.stderr, "stderr", channels::STDERR),
            (streams.tty, "resize", channels::RESIZE),
        ];
        let wanted = kinds.into_iter().filter(|(wanted, ..)| *wanted);
        let numbered = (ERROR_STREAM..).step_by(2).zip(wanted);
        Self { lanes: numbered.map(|(id, (_, kind, channel))| (id, kind, channel)).collect() }
    }

    /// Number and type of each stream.
    pub fn all(&self) -> impl Iterator<Item = (u32, &'static str)> {
        self.lanes.iter().map(|(id, kind, _)| (*id, *kind))
    }

    /// The stream that takes what the client sends on the channel.
    pub fn to_runtime(&self, channel: u8) -> Option<u32> {
        let takes = matches!(channel, channels::STDIN | channels::RESIZE);
        let lane = self.lanes.iter().find(|lane| takes && lane.2 == channel);
        lane.map(|lane| lane.0)
    }

    /// The channel for an output of the command.
    pub fn to_client(&self, stream: u32) -> Option<u8> {
        let outputs = [channels::STDOUT, channels::STDERR];
        let lane = self.lanes.iter().find(|lane| lane.0 == stream && outputs.contains(&lane.2));
        lane.map(|lane| lane.2)
    }
}

/// How far a command has come to its end: when its outputs and the error stream have ended.
#[derive(Debug)]
pub(super) struct Ending {
    /// Streams that have not ended.
    open: Vec<u32>,
    error: Vec<u8>,
    /// The error stream is the text of an error instead of a Status.
    text_errors: bool,
    broken: Option<String>,
}

impl Ending {
    pub fn new(lanes: &Lanes, text_errors: bool) -> Self {
        let ends = |stream: &u32| *stream == ERROR_STREAM || lanes.to_client(*stream).is_some();
        let open = lanes.all().map(|(stream, _)| stream).filter(ends).collect();
        Self { open, error: Vec::new(), text_errors, broken: None }
    }

    /// More of the error stream; of another stream nothing.
    pub fn error_bytes(&mut self, stream: u32, bytes: &[u8]) {
        if stream == ERROR_STREAM {
            let room = STATUS_LIMIT - self.error.len();
            self.error.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    pub fn ended(&mut self, stream: u32) {
        self.open.retain(|open| *open != stream);
    }

    /// The runtime cannot be understood any more.
    pub fn broken(&mut self, cause: &str) {
        self.broken = Some(cause.to_owned());
    }

    pub fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// The Status for the client: the runtime's own, byte for byte, where it gave one. An error
    /// stream that ended without a word is success; one that did not end is not.
    pub fn status(&self) -> String {
        if let Some(cause) = &self.broken {
            return internal_error(cause);
        }
        let text = String::from_utf8_lossy(&self.error);
        if self.text_errors && !text.is_empty() {
            return internal_error(&format!("error executing remote command: {text}"));
        }
        if !text.is_empty() {
            let is_status = serde_json::from_str(&text).is_ok_and(|value: Value| value.is_object());
            return match is_status {
                true => text.into_owned(),
                false => internal_error(&format!("error stream protocol error: {text:?}")),
            };
        }
        match self.open.contains(&ERROR_STREAM) {
            true => internal_error("error reading from error stream: unexpected EOF"),
            false => json!({"metadata": {}, "status": "Success"}).to_string(),
        }
    }
}

/// The Status of an error on this side.
pub(super) fn internal_error(cause: &str) -> String {
    let status = json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {cause}"),
        "reason": "InternalError",
        "details": {"causes": [{"message": cause}]},
        "code": 500,
    });
    status.to_string()
}

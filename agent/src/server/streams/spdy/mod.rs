//! Pure. SPDY/3.1 frames (SPDY protocol, draft 3.1), as far as streams of the container runtime
//! need them.
//!
//! Flow control windows are neither kept nor announced: the runtimes' library
//! (`moby/spdystream`) knows none and breaks the connection when it hears of one. TCP slows a
//! sender down instead.

mod dictionary;
mod headers;

use headers::HeaderDecompressor;
pub use headers::{HeaderCompressor, Headers};

/// Longest payload of a control frame that is taken; compressed headers are far below.
const CONTROL_LIMIT: usize = 64 * 1024;
const HEAD: usize = 8;
const VERSION: u16 = 3;
const CONTROL: u8 = 0x80;
/// The flag that says that nothing more comes on the stream.
const FIN: u8 = 1;
const STREAM_ID: u32 = 0x7fff_ffff;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
const HEADERS: u16 = 8;

/// How the other side breaks the protocol. There is no going on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    #[error("a SPDY frame has version {0} instead of 3")]
    Version(u16),
    #[error("a SPDY control frame is too long")]
    TooLong,
    #[error("a SPDY control frame is too short")]
    TooShort,
    #[error("a SPDY frame is for stream 0")]
    StreamZero,
    #[error("a SPDY frame has broken headers")]
    Headers,
}

/// What a piece of input holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The next bytes of a stream, possibly none; `last` when it has no more.
    Bytes {
        stream: u32,
        bytes: &'a [u8],
        last: bool,
    },
    /// The other side opens a stream.
    Opened {
        stream: u32,
        headers: Headers,
    },
    /// It accepts one of ours.
    Reply {
        stream: u32,
        last: bool,
    },
    Headers {
        stream: u32,
        last: bool,
    },
    /// It wants to hear and send nothing more on the stream.
    Reset {
        stream: u32,
    },
    /// Wants the same number back.
    Ping(u32),
    GoAway,
    /// A frame that says nothing we act upon.
    Other,
}

/// Takes the other side's bytes apart. Data is handed on as it arrives.
#[derive(Default)]
pub struct Decoder {
    head: [u8; HEAD],
    head_length: usize,
    /// What is under way after its head.
    under_way: Option<UnderWay>,
    control: Vec<u8>,
    headers: Option<HeaderDecompressor>,
}

#[derive(Clone, Copy)]
enum UnderWay {
    Data { stream: u32, last: bool, left: usize },
    Control { kind: u16, flags: u8, length: usize },
}

impl Decoder {
    /// How many bytes of the input are used up, and what they are; nothing while a frame is
    /// incomplete. Call it again with what is left of the input, until that is empty.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Frame<'a>>), SpdyError> {
        let mut used = 0;
        let under_way = match self.under_way {
            Some(under_way) => under_way,
            None => {
                used = input.len().min(HEAD - self.head_length);
                self.head[self.head_length..self.head_length + used]
                    .copy_from_slice(&input[..used]);
                self.head_length += used;
                if self.head_length < HEAD {
                    return Ok((used, None));
                }
                self.head_length = 0;
                self.begin()?
            }
        };
        let rest = &input[used..];
        match under_way {
            UnderWay::Data { stream, last, left } => {
                let length = left.min(rest.len());
                let left = left - length;
                self.under_way = (left > 0).then_some(UnderWay::Data { stream, last, left });
                let bytes = &rest[..length];
                let frame = Frame::Bytes { stream, bytes, last: last && left == 0 };
                Ok((used + length, Some(frame)))
            }
            UnderWay::Control { kind, flags, length } => {
                let more = (length - self.control.len()).min(rest.len());
                self.control.extend_from_slice(&rest[..more]);
                if self.control.len() < length {
                    self.under_way = Some(under_way);
                    return Ok((used + more, None));
                }
                self.under_way = None;
                let payload = std::mem::take(&mut self.control);
                Ok((used + more, Some(self.control_frame(kind, flags, &payload)?)))
            }
        }
    }

    /// What follows the head that was just completed.
    fn begin(&self) -> Result<UnderWay, SpdyError> {
        let [a, b, c, d, flags, length @ ..] = self.head;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        if a & CONTROL == 0 {
            let stream = u32::from_be_bytes([a, b, c, d]);
            if stream == 0 {
                return Err(SpdyError::StreamZero);
            }
            return Ok(UnderWay::Data { stream, last: flags & FIN != 0, left: length });
        }
        let version = u16::from_be_bytes([a & !CONTROL, b]);
        if version != VERSION {
            return Err(SpdyError::Version(version));
        }
        if length > CONTROL_LIMIT {
            return Err(SpdyError::TooLong);
        }
        Ok(UnderWay::Control { kind: u16::from_be_bytes([c, d]), flags, length })
    }

    fn control_frame(
        &mut self,
        kind: u16,
        flags: u8,
        payload: &[u8],
    ) -> Result<Frame<'static>, SpdyError> {
        let last = flags & FIN != 0;
        Ok(match kind {
            SYN_STREAM => {
                let stream = stream_id(payload)?;
                // Between them are the parent stream, a priority and a slot.
                let block = payload.get(10..).ok_or(SpdyError::TooShort)?;
                Frame::Opened { stream, headers: self.headers(block)? }
            }
            SYN_REPLY | HEADERS => {
                let stream = stream_id(payload)?;
                // Both directions of the compression go on from block to block, so each is read.
                self.headers(&payload[4..])?;
                match kind {
                    SYN_REPLY => Frame::Reply { stream, last },
                    _ => Frame::Headers { stream, last },
                }
            }
            RST_STREAM => Frame::Reset { stream: stream_id(payload)? },
            PING => Frame::Ping(number(payload)?),
            GO_AWAY => Frame::GoAway,
            _ => Frame::Other,
        })
    }

    fn headers(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        self.headers.get_or_insert_with(HeaderDecompressor::new).decompress(block)
    }
}

fn number(payload: &[u8]) -> Result<u32, SpdyError> {
    let first = payload.first_chunk().ok_or(SpdyError::TooShort)?;
    Ok(u32::from_be_bytes(*first))
}

fn stream_id(payload: &[u8]) -> Result<u32, SpdyError> {
    match number(payload)? & STREAM_ID {
        0 => Err(SpdyError::StreamZero),
        stream => Ok(stream),
    }
}

/// Appends a frame that opens a stream.
pub fn push_open(
    out: &mut Vec<u8>,
    compressor: &mut HeaderCompressor,
    stream: u32,
    headers: &[(&str, &str)],
) {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend_from_slice(&[0; 6]);
    payload.extend_from_slice(&compressor.compress(headers));
    push_control(out, SYN_STREAM, &payload);
}

/// Appends a frame that accepts a stream, as the runtime sends it.
#[cfg(test)]
pub fn push_reply(out: &mut Vec<u8>, compressor: &mut HeaderCompressor, stream: u32) {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend_from_slice(&compressor.compress(&[]));
    push_control(out, SYN_REPLY, &payload);
}

/// Appends a frame that refuses a stream (status REFUSED_STREAM).
pub fn push_refusal(out: &mut Vec<u8>, stream: u32) {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend_from_slice(&3_u32.to_be_bytes());
    push_control(out, RST_STREAM, &payload);
}

/// Appends the answer to a ping.
pub fn push_ping(out: &mut Vec<u8>, number: u32) {
    push_control(out, PING, &number.to_be_bytes());
}

/// Appends the bytes as frames of the stream; `last` ends it. No bytes and not the last make no
/// frame.
pub fn push_bytes(out: &mut Vec<u8>, stream: u32, bytes: &[u8], last: bool) {
    if bytes.is_empty() && !last {
        return;
    }
    // A length has 24 bits.
    debug_assert!(bytes.len() < 1 << 24, "callers pass what they read at once");
    let [_, length @ ..] = (bytes.len() as u32).to_be_bytes();
    out.extend_from_slice(&stream.to_be_bytes());
    out.push(if last { FIN } else { 0 });
    out.extend_from_slice(&length);
    out.extend_from_slice(bytes);
}

fn push_control(out: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    out.extend_from_slice(&(VERSION | u16::from(CONTROL) << 8).to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    // The length has 24 bits, and the flags before it are never set.
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests;

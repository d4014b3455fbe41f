//! Pure. WebSocket frames (RFC 6455), the server's side.
//!
//! Messages are not gathered: their bytes are handed on as they arrive, so that one message of a
//! gigabyte needs no more memory than a short one.

/// Longest payload of a frame that is not part of a message (RFC 6455, 5.5).
const CONTROL_LIMIT: usize = 125;
/// Two bytes, a length of eight, a mask of four.
const HEAD_LIMIT: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;

/// Kinds of frames that are sent (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Binary = 0x2,
    Close = 0x8,
    Pong = 0xa,
}

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    Text,
    Binary,
}

/// How the other side breaks the protocol. There is no going on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketError {
    #[error("a frame uses reserved bits")]
    Reserved,
    #[error("a frame has the unknown opcode {0}")]
    Opcode(u8),
    #[error("a frame of the client is not masked")]
    Unmasked,
    #[error("a control frame is in parts or longer than 125 bytes")]
    Control,
    #[error("a length has its highest bit set")]
    Length,
    #[error("a message goes on that has not begun")]
    Continuation,
    #[error("a message begins within another one")]
    Interrupted,
}

/// What a piece of input holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes of a message, unmasked; possibly none. The message ends with the `last`.
    Message {
        kind: MessageKind,
        bytes: &'a [u8],
        last: bool,
    },
    /// Wants the same bytes back.
    Ping(&'a [u8]),
    Pong,
    /// The other side sends nothing more.
    Close,
}

/// Takes the client's bytes apart.
#[derive(Debug, Default)]
pub struct Decoder {
    head: [u8; HEAD_LIMIT],
    head_length: usize,
    frame: Option<Frame>,
    /// The message that is under way between frames.
    message: Option<MessageKind>,
    /// Payload of a control frame, which is gathered.
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    part: Part,
    fin: bool,
    mask: [u8; 4],
    /// Payload bytes seen, and those to come.
    seen: u64,
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Message(MessageKind),
    Ping,
    Pong,
    Close,
}

impl Decoder {
    /// How many bytes of the input are used up, and what they are; nothing while a frame's head or a
    /// control frame is incomplete. Call it again with what is left of the input, until that is
    /// empty. The input is unmasked in place.
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<Piece<'a>>), WebSocketError> {
        let mut used = 0;
        let frame = match self.frame {
            Some(frame) => frame,
            None => {
                let (taken, frame) = self.take_head(input)?;
                used = taken;
                let Some(frame) = frame else { return Ok((used, None)) };
                self.frame = Some(frame);
                if frame.left > 0 && used == input.len() {
                    return Ok((used, None));
                }
                frame
            }
        };
        let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len() - used);
        let payload = &mut input[used..used + length];
        unmask(payload, frame.mask, frame.seen);
        used += length;
        let left = frame.left - length as u64;
        let seen = frame.seen + length as u64;
        self.frame = (left > 0).then_some(Frame { seen, left, ..frame });
        if let Part::Message(kind) = frame.part {
            let last = frame.fin && left == 0;
            if left == 0 {
                self.message = (!frame.fin).then_some(kind);
            }
            return Ok((used, Some(Piece::Message { kind, bytes: payload, last })));
        }
        if frame.seen == 0 {
            self.control.clear();
        }
        self.control.extend_from_slice(payload);
        if left > 0 {
            return Ok((used, None));
        }
        let piece = match frame.part {
            Part::Ping => Piece::Ping(&self.control),
            Part::Pong => Piece::Pong,
            _ => Piece::Close,
        };
        Ok((used, Some(piece)))
    }

    /// Takes input until the head of a frame is whole.
    fn take_head(&mut self, input: &[u8]) -> Result<(usize, Option<Frame>), WebSocketError> {
        let mut used = 0;
        loop {
            if self.head_length >= 2 {
                let wanted = head_length(self.head[1])?;
                if self.head_length == wanted {
                    self.head_length = 0;
                    return Ok((used, Some(self.frame_of(wanted)?)));
                }
            }
            let Some(byte) = input.get(used) else { return Ok((used, None)) };
            self.head[self.head_length] = *byte;
            self.head_length += 1;
            used += 1;
        }
    }

    fn frame_of(&mut self, head_length: usize) -> Result<Frame, WebSocketError> {
        let [first, second, ..] = self.head;
        if first & RESERVED != 0 {
            return Err(WebSocketError::Reserved);
        }
        let fin = first & FIN != 0;
        let (length, mask) = self.head[2..head_length].split_at(head_length - 6);
        let left = match second & !MASKED {
            short @ 0..=125 => u64::from(short),
            _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        if left >> 63 != 0 {
            return Err(WebSocketError::Length);
        }
        let part = part(first & OPCODE, self.message)?;
        if !matches!(part, Part::Message(_)) && (!fin || left > CONTROL_LIMIT as u64) {
            return Err(WebSocketError::Control);
        }
        let mask = mask.try_into().expect("the mask is the last four bytes of the head");
        Ok(Frame { part, fin, mask, seen: 0, left })
    }
}

/// Bytes of a head whose second byte is this one.
fn head_length(second: u8) -> Result<usize, WebSocketError> {
    if second & MASKED == 0 {
        return Err(WebSocketError::Unmasked);
    }
    Ok(match second & !MASKED {
        0..=125 => 6,
        126 => 8,
        _ => HEAD_LIMIT,
    })
}

fn part(opcode: u8, under_way: Option<MessageKind>) -> Result<Part, WebSocketError> {
    match (opcode, under_way) {
        (0x0, Some(kind)) => Ok(Part::Message(kind)),
        (0x0, None) => Err(WebSocketError::Continuation),
        (0x1 | 0x2, Some(_)) => Err(WebSocketError::Interrupted),
        (0x1, None) => Ok(Part::Message(MessageKind::Text)),
        (0x2, None) => Ok(Part::Message(MessageKind::Binary)),
        (0x8, _) => Ok(Part::Close),
        (0x9, _) => Ok(Part::Ping),
        (0xa, _) => Ok(Part::Pong),
        (other, _) => Err(WebSocketError::Opcode(other)),
    }
}

/// `seen` is how many bytes of the payload came before these.
fn unmask(payload: &mut [u8], mut mask: [u8; 4], seen: u64) {
    mask.rotate_left((seen % 4) as usize);
    let mut whole = payload.chunks_exact_mut(4);
    for chunk in &mut whole {
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in whole.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// Appends the head of a whole frame whose payload of `length` bytes follows.
pub fn push_head(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(FIN | opcode as u8);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a frame that says goodbye with the code of a normal end (RFC 6455, 7.4.1).
pub fn push_close(out: &mut Vec<u8>) {
    push_head(out, Opcode::Close, 2);
    out.extend_from_slice(&1000_u16.to_be_bytes());
}

#[cfg(test)]
mod tests;

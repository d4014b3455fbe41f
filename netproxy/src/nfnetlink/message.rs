//! Pure. Netlink messages as bytes.
//!
//! ```text
//! datagram:  message, message, ...
//! message:   length u32, kind u16, flags u16, sequence u32, port u32, payload
//! payload:   family u8, version u8, resource u16, attribute, attribute, ...
//! attribute: length u16, kind u16, value, filled up to four bytes
//! ```

/// Length of a message header.
const HEADER: usize = 16;
/// Length of what every netfilter payload begins with.
const FAMILY_HEADER: usize = 4;
/// Length of an attribute header.
const ATTRIBUTE: usize = 4;
/// Bits of an attribute's kind that are flags: nested, and network byte order.
const KIND_FLAGS: u16 = 0xc000;

/// The kernel answers with an error number; 0 says yes.
const ERROR: u16 = 2;
/// A dump is over.
const DONE: u16 = 3;

/// Something changed during a dump, so that objects may be missing.
const INTERRUPTED: u16 = 0x10;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// Asks for an answer even on success.
pub const ACK: u16 = 4;
/// Asks for all objects.
pub const DUMP: u16 = 0x300;
/// Asks to make the object.
pub const CREATE: u16 = 0x400;
/// Fails if the object is there.
pub const EXCLUSIVE: u16 = 0x200;

/// One message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Subsystem in the upper byte, message of it in the lower.
    pub kind: u16,
    flags: u16,
    /// The sequence number of the request it answers.
    pub sequence: u32,
    /// Netlink port of whoever caused it.
    pub port: u32,
    /// Everything after the header.
    pub payload: &'a [u8],
}

/// What a message means for its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The request is done.
    Done,
    /// The request failed with this error number, which is positive.
    Failed(i32),
    /// An object.
    Object,
}

impl<'a> Message<'a> {
    /// What the message says.
    pub fn meaning(&self) -> Meaning {
        if self.kind != ERROR && self.kind != DONE {
            return Meaning::Object;
        }
        let code = self.payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if code == 0 { Meaning::Done } else { Meaning::Failed(code.saturating_abs()) }
    }

    /// Whether it belongs to a dump during which something changed, so that objects may be
    /// missing from it.
    pub const fn is_interrupted(&self) -> bool {
        self.flags & INTERRUPTED != 0
    }

    /// The attributes of a netfilter object; none when the payload is too short.
    pub fn attributes(&self) -> Attributes<'a> {
        attributes(self.payload.get(FAMILY_HEADER..).unwrap_or_default())
    }
}

/// The messages of a datagram; ends at the first that does not fit.
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

/// Iterator of [`messages`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.rest.first_chunk::<HEADER>()?;
        let length = usize::try_from(number(&header[..4])).ok()?;
        let payload = self.rest.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: number(&header[8..12]),
            port: number(&header[12..16]),
            payload,
        };
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some(message)
    }
}

/// The attributes in `bytes`, each with its kind without flags; ends at the first that does not
/// fit.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

/// Iterator of [`attributes`].
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.rest.first_chunk::<ATTRIBUTE>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & !KIND_FLAGS;
        let value = self.rest.get(ATTRIBUTE..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A request to the kernel, built attribute by attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request without attributes for an address family (0 for none).
    pub fn new(subsystem: u8, message: u8, flags: u16, family: u8) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(u16::from_be_bytes([subsystem, message]).to_ne_bytes());
        bytes.extend((REQUEST | flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([family, 0, 0, 0]);
        Self { bytes }
    }

    /// About all messages of a subsystem; what the edges of a batch say.
    pub fn of_subsystem(mut self, subsystem: u8) -> Self {
        self.bytes[HEADER + 2..HEADER + FAMILY_HEADER].copy_from_slice(&[0, subsystem]);
        self
    }

    /// With one more attribute. A value too long for an attribute is cut at 65,531 bytes, which
    /// no value of ours comes near.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let value = &value[..value.len().min(usize::from(u16::MAX) - ATTRIBUTE)];
        let start = self.begin(kind);
        self.bytes.extend(value);
        self.end(start);
        self
    }

    /// With one more attribute that holds the attributes `fill` adds.
    pub fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        const NESTED: u16 = 0x8000;
        let start = self.begin(kind | NESTED);
        let mut filled = fill(self);
        filled.end(start);
        filled
    }

    /// The bytes to send under a sequence number.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    fn begin(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        start
    }

    fn end(&mut self, start: usize) {
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }
}

/// The number in four bytes; 0 for fewer.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// The next multiple of four.
const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests;

//! Pure. Blocks of headers: names and values with their lengths, in one compressed stream for each
//! direction of a connection.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::SpdyError;
use super::dictionary::dictionary;

/// Names and values in their order.
pub type Headers = Vec<(String, String)>;

/// Longest block, uncompressed. Blocks of streams hold a stream type, a port and a number; this is
/// what the HTTP library allows for the headers of a request.
const BLOCK_LIMIT: usize = 64 * 1024;

/// Writes blocks. It holds a quarter of a megabyte, so it should not live longer than streams are
/// being opened.
pub struct HeaderCompressor {
    stream: Compress,
}

impl HeaderCompressor {
    pub fn new() -> Self {
        let mut stream = Compress::new(Compression::default(), true);
        stream.set_dictionary(&dictionary()).expect("the stream has not begun");
        Self { stream }
    }

    /// The compressed block. Names must be in lower case.
    pub fn compress(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        push_length(&mut block, headers.len());
        for (name, value) in headers {
            for text in [name, value] {
                push_length(&mut block, text.len());
                block.extend_from_slice(text.as_bytes());
            }
        }
        let mut out = Vec::new();
        let before = self.stream.total_in();
        loop {
            // Room for whatever is left and the marker of a flush; a full buffer is tried again.
            out.reserve(block.len() + 64);
            let taken = (self.stream.total_in() - before) as usize;
            self.stream
                .compress_vec(&block[taken..], &mut out, FlushCompress::Sync)
                .expect("a stream with room cannot fail");
            let all_taken = (self.stream.total_in() - before) as usize == block.len();
            if all_taken && out.len() < out.capacity() {
                return out;
            }
        }
    }
}

fn push_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

/// Reads blocks.
pub(super) struct HeaderDecompressor {
    stream: Decompress,
}

impl HeaderDecompressor {
    pub(super) fn new() -> Self {
        Self { stream: Decompress::new(true) }
    }

    /// The headers of the next block of the connection.
    pub(super) fn decompress(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let mut out = Vec::with_capacity(1024);
        let before = self.stream.total_in();
        loop {
            let taken = (self.stream.total_in() - before) as usize;
            let (room, length) = (out.capacity(), out.len());
            match self.stream.decompress_vec(&block[taken..], &mut out, FlushDecompress::Sync) {
                Err(error) if error.needs_dictionary().is_some() => {
                    let known = self.stream.set_dictionary(&dictionary());
                    known.map_err(|_| SpdyError::Headers)?;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(SpdyError::Headers),
                Ok(Status::BufError) if out.len() < room => break,
                Ok(_) if out.len() == room => {
                    if room >= BLOCK_LIMIT {
                        return Err(SpdyError::Headers);
                    }
                    out.reserve(room);
                }
                Ok(_) => {
                    let now = (self.stream.total_in() - before) as usize;
                    if now == block.len() || (now == taken && out.len() == length) {
                        break;
                    }
                }
            }
        }
        if (self.stream.total_in() - before) as usize != block.len() {
            return Err(SpdyError::Headers);
        }
        parse(&out).ok_or(SpdyError::Headers)
    }
}

/// `None` when the block is not exactly as long as its lengths say, or a text is not UTF-8.
fn parse(block: &[u8]) -> Option<Headers> {
    let mut rest = block;
    let count = take_length(&mut rest)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.push((take_text(&mut rest)?, take_text(&mut rest)?));
    }
    rest.is_empty().then_some(headers)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let (length, after) = rest.split_first_chunk()?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = take_length(rest)?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}

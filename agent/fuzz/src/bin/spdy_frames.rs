//! What a container runtime's streaming server sends.
#![no_main]

#[allow(dead_code, reason = "the target reads and does not write")]
#[path = "../../../src/server/streams/spdy/mod.rs"]
mod spdy;

use libfuzzer_sys::fuzz_target;
use spdy::{Decoder, Frame, SpdyError};

/// The frames of the input when it comes in parts of this size, and the bytes of all streams.
fn decode(input: &[u8], step: usize) -> (Vec<String>, Vec<u8>, Option<SpdyError>) {
    let mut decoder = Decoder::default();
    let (mut frames, mut data) = (Vec::new(), Vec::new());
    for part in input.chunks(step) {
        let mut rest = part;
        while !rest.is_empty() {
            let (used, frame) = match decoder.decode(rest) {
                Ok(decoded) => decoded,
                Err(error) => return (frames, data, Some(error)),
            };
            assert!(used > 0 && used <= rest.len());
            rest = &rest[used..];
            match frame {
                Some(Frame::Bytes { bytes, last, .. }) => {
                    data.extend_from_slice(bytes);
                    if last {
                        frames.push("last".to_owned());
                    }
                }
                Some(frame) => frames.push(format!("{frame:?}")),
                None => {}
            }
        }
    }
    (frames, data, None)
}

fuzz_target!(|input: &[u8]| {
    let whole = decode(input, usize::MAX);
    assert!(whole.1.len() <= input.len());
    assert_eq!(whole, decode(input, 1));
    assert_eq!(whole, decode(input, 13));
});

//! What a client of a remote command sends over a WebSocket.
#![no_main]

#[allow(dead_code, reason = "the target reads and does not write")]
#[path = "../../../src/server/streams/channels.rs"]
mod channels;
#[allow(dead_code, reason = "the target reads and does not write")]
#[path = "../../../src/server/streams/websocket.rs"]
mod websocket;

use channels::{Channels, Event};
use libfuzzer_sys::fuzz_target;
use websocket::{Decoder, Piece};

/// What each channel gets of the input when it comes in parts of this size, and how often one is
/// closed.
fn decode(input: &[u8], step: usize) -> (Vec<Vec<u8>>, usize) {
    let (mut decoder, mut channels) = (Decoder::default(), Channels::default());
    let (mut got, mut closed) = (vec![Vec::new(); 5], 0);
    for part in input.chunks(step) {
        let mut part = part.to_vec();
        let mut rest = part.as_mut_slice();
        while !rest.is_empty() {
            let length = rest.len();
            let Ok((used, piece)) = decoder.decode(rest) else { return (got, closed) };
            assert!(used > 0 && used <= length);
            match piece {
                Some(Piece::Message { bytes, last, .. }) => match channels.take(bytes, last) {
                    Ok(Some(Event::Bytes { channel, bytes })) => {
                        got[usize::from(channel)].extend_from_slice(bytes);
                    }
                    Ok(Some(Event::Closed(channel))) => {
                        assert!(channel < 5);
                        closed += 1;
                    }
                    Ok(None) => {}
                    Err(_) => return (got, closed),
                },
                Some(Piece::Ping(bytes)) => assert!(bytes.len() <= 125),
                Some(Piece::Pong | Piece::Close) | None => {}
            }
            rest = &mut rest[used..];
        }
    }
    (got, closed)
}

fuzz_target!(|input: &[u8]| {
    let whole = decode(input, usize::MAX);
    assert_eq!(whole, decode(input, 1));
    assert_eq!(whole, decode(input, 13));
});

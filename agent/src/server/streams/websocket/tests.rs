use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_head(&mut bytes, Opcode::Binary, payload.len());
    bytes[0] = first;
    bytes[1] |= MASKED;
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What a decoder makes of the input when it comes in parts of this size: a word for each whole
/// message or control frame.
fn decode(input: &[u8], step: usize) -> Result<Vec<String>, WebSocketError> {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    let mut message = Vec::new();
    for part in input.chunks(step) {
        let mut part = part.to_vec();
        let mut rest = part.as_mut_slice();
        while !rest.is_empty() {
            let (used, piece) = decoder.decode(rest)?;
            match piece {
                Some(Piece::Message { kind, bytes, last }) => {
                    message.extend_from_slice(bytes);
                    if last {
                        let text = String::from_utf8_lossy(&message);
                        seen.push(format!("{kind:?} {text}"));
                        message.clear();
                    }
                }
                Some(Piece::Ping(bytes)) => {
                    seen.push(format!("ping {}", String::from_utf8_lossy(bytes)));
                }
                Some(Piece::Pong) => seen.push("pong".to_owned()),
                Some(Piece::Close) => seen.push("close".to_owned()),
                None => {}
            }
            assert!(used > 0, "it makes progress");
            rest = &mut rest[used..];
        }
    }
    Ok(seen)
}

#[test]
fn frames_are_taken_apart_wherever_the_input_is_cut() {
    let long = "x".repeat(300);
    let input = [
        frame(0x82, b"whole"),
        frame(0x81, b"text"),
        frame(0x82, b""),
        frame(0x02, b"in "),
        frame(0x89, b"are you there"),
        frame(0x00, b"three "),
        frame(0x8a, b""),
        frame(0x80, b"frames"),
        frame(0x82, long.as_bytes()),
        frame(0x88, &1000_u16.to_be_bytes()),
    ]
    .concat();
    for step in [1, 2, 3, 5, 7, 16, 1000] {
        let seen = decode(&input, step).unwrap();
        assert_eq!(
            seen,
            [
                "Binary whole",
                "Text text",
                "Binary ",
                "ping are you there",
                "pong",
                "Binary in three frames",
                format!("Binary {long}").as_str(),
                "close",
            ],
            "in parts of {step}"
        );
    }
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_apart() {
    for (input, wanted) in [
        (vec![0x82, 0x01, 0x00], WebSocketError::Unmasked),
        (frame(0xc2, b"a"), WebSocketError::Reserved),
        (frame(0x83, b"a"), WebSocketError::Opcode(3)),
        (frame(0x80, b"a"), WebSocketError::Continuation),
        ([frame(0x02, b"a"), frame(0x82, b"b")].concat(), WebSocketError::Interrupted),
        (frame(0x09, b"a"), WebSocketError::Control),
        (frame(0x89, &[0; 126]), WebSocketError::Control),
        (
            [&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0][..], &MASK, b"a"].concat(),
            WebSocketError::Length,
        ),
    ] {
        assert_eq!(decode(&input, 1), Err(wanted));
    }
}

#[test]
fn heads_have_the_shortest_length_that_fits() {
    for (length, wanted) in [
        (0, vec![0x82, 0]),
        (125, vec![0x82, 125]),
        (126, vec![0x82, 126, 0, 126]),
        (0xffff, vec![0x82, 126, 0xff, 0xff]),
        (0x1_0000, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut head = Vec::new();
        push_head(&mut head, Opcode::Binary, length);
        assert_eq!(head, wanted);
    }
    let mut close = Vec::new();
    push_close(&mut close);
    assert_eq!(close, [0x88, 2, 0x03, 0xe8]);
}

proptest! {
    #[test]
    fn no_input_panics_and_cuts_make_no_difference(input: Vec<u8>, step in 1_usize..40) {
        prop_assert_eq!(decode(&input, step), decode(&input, usize::MAX));
    }
}

use proptest::prelude::*;

use super::dictionary::dictionary;
use super::*;

/// A word for each frame of the input when it comes in parts of this size; data of one frame is
/// put together.
fn decode(input: &[u8], step: usize) -> Result<Vec<String>, SpdyError> {
    let mut decoder = Decoder::default();
    let mut seen: Vec<String> = Vec::new();
    let mut data = Vec::new();
    for part in input.chunks(step) {
        let mut rest = part;
        while !rest.is_empty() {
            let (used, frame) = decoder.decode(rest)?;
            assert!(used > 0, "it makes progress");
            rest = &rest[used..];
            let whole = decoder.under_way.is_none();
            match frame {
                Some(Frame::Bytes { stream, bytes, last }) => {
                    data.extend_from_slice(bytes);
                    if whole {
                        let text = String::from_utf8_lossy(&data);
                        seen.push(format!("{stream} {text}{}", if last { " last" } else { "" }));
                        data.clear();
                    }
                }
                Some(frame) => seen.push(format!("{frame:?}")),
                None => {}
            }
        }
    }
    Ok(seen)
}

#[test]
fn the_dictionary_is_the_one_that_all_others_have() {
    // Its Adler-32 sum stands in the head of every compressed stream: 0xe3c6a7c2.
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in dictionary() {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    assert_eq!(b << 16 | a, 0xe3c6_a7c2);
}

#[test]
fn frames_are_taken_apart_wherever_the_input_is_cut() {
    let mut compressor = HeaderCompressor::new();
    let mut input = Vec::new();
    push_open(&mut input, &mut compressor, 1, &[("streamtype", "error")]);
    push_open(&mut input, &mut compressor, 3, &[("streamtype", "data"), ("port", "80")]);
    push_reply(&mut input, &mut compressor, 3);
    push_bytes(&mut input, 3, b"hello", false);
    push_bytes(&mut input, 3, b"", false);
    push_ping(&mut input, 2);
    push_bytes(&mut input, 3, b"bye", true);
    push_bytes(&mut input, 1, b"", true);
    push_refusal(&mut input, 5);
    // SETTINGS, a kind that nobody knows, and the end of the connection.
    push_control(&mut input, 4, &[0; 4]);
    push_control(&mut input, 99, b"whatever");
    push_control(&mut input, GO_AWAY, &[0; 8]);
    for step in [1, 2, 3, 7, 8, 9, 50, 1000] {
        assert_eq!(
            decode(&input, step).unwrap(),
            [
                r#"Opened { stream: 1, headers: [("streamtype", "error")] }"#,
                r#"Opened { stream: 3, headers: [("streamtype", "data"), ("port", "80")] }"#,
                "Reply { stream: 3, last: false }",
                "3 hello",
                "Ping(2)",
                "3 bye last",
                "1  last",
                "Reset { stream: 5 }",
                "Other",
                "Other",
                "GoAway",
            ],
            "in parts of {step}"
        );
    }
}

#[test]
fn long_headers_go_through_and_endless_ones_do_not() {
    let check = |length: usize| {
        let value = "v".repeat(length);
        let mut input = Vec::new();
        push_open(&mut input, &mut HeaderCompressor::new(), 1, &[("a", &value)]);
        decode(&input, 1000).map(|frames| frames.len())
    };
    assert_eq!(check(20_000), Ok(1));
    assert_eq!(check(10_000_000), Err(SpdyError::Headers));
}

#[test]
fn a_runtime_that_breaks_the_protocol_is_told_apart() {
    let control = |kind: u16, payload: &[u8]| {
        let mut out = Vec::new();
        push_control(&mut out, kind, payload);
        out
    };
    for (input, wanted) in [
        (b"HTTP/1.1 400 Bad Request".to_vec(), Ok(0)),
        (vec![0x80, 2, 0, 1, 0, 0, 0, 0], Err(SpdyError::Version(2))),
        (vec![0x80, 3, 0, 1, 0, 1, 0, 1], Err(SpdyError::TooLong)),
        (vec![0, 0, 0, 0, 0, 0, 0, 0], Err(SpdyError::StreamZero)),
        (control(SYN_STREAM, &[0, 0, 0, 1]), Err(SpdyError::TooShort)),
        (control(SYN_REPLY, &[0, 0, 0]), Err(SpdyError::TooShort)),
        (control(SYN_REPLY, &[0x80, 0, 0, 0]), Err(SpdyError::StreamZero)),
        (control(SYN_REPLY, b"\0\0\0\x01not zlib"), Err(SpdyError::Headers)),
        (control(SYN_REPLY, b"\0\0\0\x01"), Err(SpdyError::Headers)),
        (control(RST_STREAM, b""), Err(SpdyError::TooShort)),
        (control(PING, b"\0"), Err(SpdyError::TooShort)),
    ] {
        // Bytes that are no SPDY at all may look like the beginning of a long frame.
        assert_eq!(decode(&input, 1000).map(|frames| frames.len()), wanted, "{input:?}");
    }
}

proptest! {
    #[test]
    fn no_input_panics(input: Vec<u8>, step in 1_usize..40) {
        let _ = decode(&input, step);
    }

    #[test]
    fn no_headers_panic(block: Vec<u8>) {
        let mut input = Vec::new();
        push_control(&mut input, SYN_REPLY, &[&[0, 0, 0, 1], block.as_slice()].concat());
        let _ = decode(&input, 1000);
    }

    #[test]
    fn headers_come_back_as_they_were(
        blocks in prop::collection::vec(
            prop::collection::vec(("[a-z-]{1,20}", ".{0,200}"), 0..8), 0..5
        )
    ) {
        let mut compressor = HeaderCompressor::new();
        let mut decoder = Decoder::default();
        for block in blocks {
            let headers: Vec<(&str, &str)> =
                block.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let mut input = Vec::new();
            push_open(&mut input, &mut compressor, 1, &headers);
            let (_, frame) = decoder.decode(&input).unwrap();
            prop_assert_eq!(frame, Some(Frame::Opened { stream: 1, headers: block }));
        }
    }
}

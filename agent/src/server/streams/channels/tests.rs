use super::*;

/// What comes of messages that are cut into these parts.
fn take(messages: &[&[&[u8]]]) -> Vec<String> {
    let mut channels = Channels::default();
    let mut seen = Vec::new();
    for message in messages {
        for (at, part) in message.iter().enumerate() {
            match channels.take(part, at + 1 == message.len()) {
                Ok(None) => {}
                Ok(Some(Event::Bytes { channel, bytes })) => {
                    seen.push(format!("{channel} {}", String::from_utf8_lossy(bytes)));
                }
                Ok(Some(Event::Closed(channel))) => seen.push(format!("closed {channel}")),
                Err(error) => seen.push(error.to_string()),
            }
        }
    }
    seen
}

#[test]
fn the_first_byte_of_a_message_is_its_channel() {
    let messages: &[&[&[u8]]] = &[
        &[b"\x00in"],
        &[b"\x04", b"{}"],
        &[b"", b"\x00a", b"b", b""],
        &[b""],
        &[b"\x00"],
        &[b"\x07nobody", b"\x00listens"],
        &[b"\x01back"],
    ];
    assert_eq!(take(messages), ["0 in", "4 {}", "0 a", "0 b", "1 back"]);
}

#[test]
fn a_channel_is_closed_by_a_message_of_two_bytes() {
    let error = "a message closes no channel";
    for (parts, wanted) in [
        (&[&b"\xff\x00"[..]][..], "closed 0"),
        (&[b"\xff", b"\x04"], "closed 4"),
        (&[b"", b"\xff", b"", b"\x00", b""], "closed 0"),
        (&[b"\xff"], error),
        (&[b"\xff\x05"], error),
        (&[b"\xff\x00\x00"], error),
        (&[b"\xff\x00", b"\x00"], error),
    ] {
        assert_eq!(take(&[parts]), [wanted], "{parts:?}");
    }
    // The next message begins anew.
    assert_eq!(take(&[&[b"\xff\x00"], &[b"\x00more"]]), ["closed 0", "0 more"]);
}

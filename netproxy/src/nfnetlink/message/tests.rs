use proptest::prelude::*;

use super::{ACK, Meaning, Message, Request, attributes, messages};

fn request() -> Request {
    Request::new(1, 2, ACK, 2).with(18, &7u16.to_be_bytes()).nested(1, |request| {
        request.nested(2, |request| request.with(1, &[17]).with(2, &53u16.to_be_bytes()))
    })
}

#[test]
fn built_requests_read_back_with_their_attributes() {
    let bytes = request().finish(5);
    assert_eq!(bytes.len() % 4, 0);
    let found: Vec<Message<'_>> = messages(&bytes).collect();
    let [message] = found[..] else { panic!("{found:?}") };
    assert_eq!((message.kind, message.sequence), (0x0102, 5));
    assert_eq!(message.meaning(), Meaning::Object);
    let top: Vec<(u16, &[u8])> = message.attributes().collect();
    assert_eq!(top[0], (18, &[0, 7][..]));
    let (kind, inner) = top[1];
    assert_eq!(kind, 1, "the nested flag is no part of the kind");
    let (_, leaves) = attributes(inner).next().unwrap();
    let leaves: Vec<_> = attributes(leaves).collect();
    assert_eq!(leaves, [(1, &[17][..]), (2, &[0, 53][..])]);
}

#[test]
fn several_messages_of_one_datagram_are_told_apart() {
    let mut bytes = request().finish(1);
    bytes.extend(request().finish(2));
    let sequences: Vec<u32> = messages(&bytes).map(|message| message.sequence).collect();
    assert_eq!(sequences, [1, 2]);
}

#[test]
fn dumps_that_were_interrupted_are_told() {
    let told = |flags| {
        let bytes = Request::new(1, 0, flags, 2).finish(1);
        messages(&bytes).next().unwrap().is_interrupted()
    };
    assert!(told(0x10 | 2) && !told(2));
}

#[test]
fn answers_say_whether_it_worked() {
    let answer = |kind, payload: &'static [u8]| {
        Message { kind, flags: 0, sequence: 0, port: 0, payload }.meaning()
    };
    assert_eq!(answer(2, &[0, 0, 0, 0, 9, 9]), Meaning::Done);
    assert_eq!(answer(3, &[]), Meaning::Done);
    assert_eq!(answer(2, &[0xfe, 0xff, 0xff, 0xff]), Meaning::Failed(2));
    assert_eq!(answer(0x100, &[0xfe, 0xff, 0xff, 0xff]), Meaning::Object);
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic_or_run_on(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (position, message) in messages(&bytes).enumerate() {
            prop_assert!(position < bytes.len() / 16);
            prop_assert!(message.attributes().count() <= message.payload.len() / 4);
        }
        prop_assert!(attributes(&bytes).count() <= bytes.len() / 4);
    }
}

use super::{BYTES, Count, NAME, NEW, PACKETS, SUBSYSTEM, count_in, request};
use crate::nfnetlink::{Request, messages};

#[test]
fn answers_tell_packets_and_bytes() {
    let answer = Request::new(SUBSYSTEM, NEW, 0, 0)
        .with(NAME, b"x\0")
        .with(PACKETS, &7u64.to_be_bytes())
        .with(BYTES, &700u64.to_be_bytes())
        .finish(1);
    let message = messages(&answer).next().unwrap();
    assert_eq!(count_in(&message), Some(Count { packets: 7, bytes: 700 }));
    let short = Request::new(SUBSYSTEM, NEW, 0, 0).with(PACKETS, &[1]).finish(1);
    assert_eq!(count_in(&messages(&short).next().unwrap()), None);
}

#[test]
fn names_the_kernel_would_cut_are_refused() {
    assert!(request(NEW, 0, &"x".repeat(31)).is_ok());
    assert!(request(NEW, 0, &"x".repeat(32)).is_err());
    assert!(request(NEW, 0, "a\0b").is_err());
}

use super::*;

#[test]
fn newest_writers_are_remembered() {
    let own = OwnWriters::default();
    let last = u32::try_from(REMEMBERED).unwrap();
    for port in 0..=last {
        own.note(port);
        own.note(port);
    }
    assert!(!own.is_own(0));
    assert!(own.is_own(1));
    assert!(own.clone().is_own(last));
}

#[test]
fn run_lasts_until_its_guard_is_gone() {
    let own = OwnWriters::default();
    let (first, second) = (own.run(), own.run());
    assert_eq!(own.runs(), (true, 0));
    drop(first);
    assert_eq!(own.runs(), (true, 1));
    drop(second);
    assert_eq!(own.runs(), (false, 2));
}

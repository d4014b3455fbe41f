use super::*;

#[test]
fn change_is_mended_at_once_and_told() {
    let mut mending = Mending::new(Duration::from_secs(30));
    let start = Instant::now();
    assert_eq!(mending.noticed(start), Mend { at: start, tell: true });
    let later = start + TOLD_EVERY;
    assert_eq!(mending.noticed(later), Mend { at: later, tell: true });
}

#[test]
fn fight_slows_down_and_is_told_once_a_minute() {
    let mut mending = Mending::new(Duration::from_secs(30));
    let start = Instant::now();
    let mut now = start;
    let mut told = Vec::new();
    let mut waits = Vec::new();
    for number in 0..12 {
        let mend = mending.noticed(now);
        if mend.tell {
            told.push(number);
        }
        waits.push((mend.at - now).as_secs());
        now = mend.at;
    }
    assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(told, [0, 10]);
    let peace = now + PEACE + Duration::from_secs(30);
    assert_eq!(mending.noticed(peace).at, peace, "the fight is over");
}

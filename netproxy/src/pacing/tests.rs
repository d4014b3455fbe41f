use std::time::Duration;

use tokio::time::Instant;

use super::Pacer;

const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(30);

#[test]
fn first_change_after_quiet_goes_out_at_once() {
    let start = Instant::now();
    let mut pacer = Pacer::new(MIN, MAX);
    assert_eq!(pacer.next_run(), None);
    pacer.changed(start);
    assert_eq!(pacer.next_run(), Some(start));
    pacer.succeeded(start, true);
    let later = start + MIN * 5;
    pacer.changed(later);
    assert_eq!(pacer.next_run(), Some(later));
}

#[test]
fn changes_soon_after_a_sync_wait_for_the_minimum_together() {
    let start = Instant::now();
    let mut pacer = Pacer::new(MIN, MAX);
    pacer.changed(start);
    pacer.succeeded(start, true);
    pacer.changed(start + MIN / 4);
    pacer.changed(start + MIN / 2);
    assert_eq!(pacer.waiting_since(), Some(start + MIN / 4));
    assert_eq!(pacer.next_run(), Some(start + MIN));
}

#[test]
fn failures_are_retried_with_growing_delay_up_to_the_sync_period() {
    let start = Instant::now();
    let mut pacer = Pacer::new(MIN, MAX);
    pacer.changed(start);
    let mut delays = Vec::new();
    for _ in 0..7 {
        pacer.failed(start);
        // A change in between does not hurry.
        pacer.changed(start);
        delays.push((pacer.next_run().unwrap() - start).as_secs());
    }
    assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
    pacer.succeeded(start, true);
    assert_eq!(pacer.waiting_since(), None);
    pacer.changed(start);
    assert_eq!(pacer.next_run(), Some(start + MIN));
}

#[test]
fn live_rules_are_compared_every_hour() {
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    let mut pacer = Pacer::new(MIN, MAX);
    pacer.changed(start);
    assert!(pacer.full_due(start));
    pacer.succeeded(start, true);
    assert_eq!(pacer.next_run(), Some(start + hour));
    assert!(!pacer.full_due(start + hour / 2));
    pacer.succeeded(start + hour / 2, false);
    assert!(pacer.full_due(start + hour));
}

#[test]
fn refused_services_are_tried_again_ever_more_slowly() {
    let mut pacer = Pacer::new(MIN, MAX);
    let start = Instant::now();
    let mut now = start;
    let mut waits = Vec::new();
    for _ in 0..12 {
        pacer.succeeded(now, true);
        pacer.refused(now, true);
        let next = pacer.next_run().unwrap();
        assert!(!pacer.refused_due(now) && pacer.refused_due(next));
        waits.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    pacer.succeeded(now, true);
    pacer.refused(now, true);
    let next = pacer.next_run();
    // A change in between does not put it off.
    pacer.succeeded(now + MIN, false);
    pacer.refused(now + MIN, true);
    assert_eq!(pacer.next_run(), next);
    pacer.refused(now + 2 * MIN, false);
    assert!(pacer.next_run().unwrap() > now + 1000 * MIN);
}

use jiff::Timestamp;

use super::*;
use crate::events::node_reference;
use crate::testing::fake_api::FakeApi;

fn limits(event_qps: u32, event_burst: u32) -> Limits {
    Limits { event_qps, event_burst, registry_qps: 5, registry_burst: 10 }
}

/// The number-th event about an object of its own.
fn event(number: usize) -> ApiEvent {
    ApiEvent {
        object: node_reference(&format!("object-{number}")),
        warning: false,
        reason: "Starting",
        message: format!("message {number}"),
        at: Timestamp::constant(1_700_000_000, 0),
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_event_is_one_object_with_a_count() {
    let api = FakeApi::new("node-1");
    let (handle, task) = EventsTask::new(Arc::new(api.clone()), "node-1", &limits(50, 100));
    let running = tokio::spawn(task.run());
    for _ in 0..3 {
        handle.publish(event(1));
    }
    api.wait_for_calls(3).await;
    let events = api.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].count, Some(3));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn event_that_expired_at_the_server_is_created_anew() {
    let api = FakeApi::new("node-1");
    let (handle, task) = EventsTask::new(Arc::new(api.clone()), "node-1", &limits(50, 100));
    let running = tokio::spawn(task.run());
    handle.publish(event(1));
    api.wait_for_calls(1).await;
    api.expire_events();
    handle.publish(event(1));
    let calls = api.wait_for_calls(3).await;
    assert!(calls[1].starts_with("patch_event"), "{calls:?}");
    assert!(calls[2].starts_with("create_event"), "{calls:?}");
    assert_eq!(api.events()[0].count, Some(2));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn publishing_never_waits_and_a_full_queue_loses_the_oldest() {
    let api = FakeApi::new("node-1");
    let (handle, task) = EventsTask::new(Arc::new(api.clone()), "node-1", &limits(0, 0));
    for number in 0..QUEUE + 5 {
        handle.publish(event(number));
    }
    let running = tokio::spawn(task.run());
    let calls = api.wait_for_calls(QUEUE).await;
    assert!(calls[0].starts_with("create_event default/object-5."), "{}", calls[0]);
    assert_eq!(api.events().len(), QUEUE);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn unavailable_server_is_tried_again_every_ten_seconds() {
    let api = FakeApi::new("node-1");
    for _ in 0..3 {
        api.fail_next("create_event", ApiError::Unavailable("away".to_owned()));
    }
    let (handle, task) = EventsTask::new(Arc::new(api.clone()), "node-1", &limits(50, 100));
    let running = tokio::spawn(task.run());
    let begun = Instant::now();
    handle.publish(event(1));
    api.wait_for_calls(4).await;
    assert!(begun.elapsed() >= PAUSE * 3);
    assert_eq!(api.events().len(), 1);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn event_is_given_up_after_twelve_tries_and_at_once_when_refused() {
    let api = FakeApi::new("node-1");
    for _ in 0..TRIES {
        api.fail_next("create_event", ApiError::Unavailable("away".to_owned()));
    }
    api.fail_next("create_event", ApiError::Forbidden("namespace is terminating".to_owned()));
    let (handle, task) = EventsTask::new(Arc::new(api.clone()), "node-1", &limits(50, 100));
    let running = tokio::spawn(task.run());
    for number in 1..=3 {
        handle.publish(event(number));
    }
    let calls = api.wait_for_calls(TRIES as usize + 2).await;
    assert!(calls[TRIES as usize].contains("object-2"), "{calls:?}");
    let events = api.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].involved_object.name.as_deref(), Some("object-3"));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn writes_keep_to_rate_and_burst() {
    let api = FakeApi::new("node-1");
    let (handle, task) = EventsTask::new(Arc::new(api.clone()), "node-1", &limits(10, 5));
    for number in 0..25 {
        handle.publish(event(number));
    }
    let begun = Instant::now();
    let running = tokio::spawn(task.run());
    api.wait_for_calls(5).await;
    assert!(begun.elapsed() < Duration::from_millis(50));
    api.wait_for_calls(25).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1900) && took <= Duration::from_millis(2200), "{took:?}");
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn events_let_statuses_go_first_but_not_for_ever() {
    let api = FakeApi::new("node-1");
    let (handle, task) = EventsTask::new(Arc::new(api.clone()), "node-1", &limits(50, 100));
    let busy = watch::Sender::new(true);
    handle.give_way_to(busy.subscribe());
    let running = tokio::spawn(task.run());
    let begun = Instant::now();
    handle.publish(event(1));
    handle.publish(event(2));
    api.wait_for_calls(2).await;
    assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());

    let begun = Instant::now();
    handle.publish(event(3));
    tokio::time::sleep(GIVE_WAY * 2).await;
    busy.send_replace(false);
    api.wait_for_calls(3).await;
    assert_eq!(begun.elapsed().as_millis(), (GIVE_WAY * 2).as_millis());

    let begun = Instant::now();
    handle.publish(event(4));
    let calls = api.wait_for_calls(4).await;
    assert_eq!(begun.elapsed().as_millis(), GIVE_WAY.as_millis());
    let order = ["object-1", "object-2", "object-3", "object-4"];
    assert!(calls.iter().zip(order).all(|(call, object)| call.contains(object)), "{calls:?}");
    running.abort();
}

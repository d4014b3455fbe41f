use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{join_all, pending};
use tokio::sync::oneshot;

use super::*;

const TTL: Duration = Duration::from_secs(10);

fn key(number: usize) -> Key {
    let mut key = Key::default();
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

#[tokio::test(start_paused = true)]
async fn callers_with_the_same_question_share_one_answer() {
    let cache = ReviewCache::<usize>::default();
    let asked = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let asked = Arc::clone(&asked);
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok((asked.fetch_add(1, Ordering::Relaxed), TTL))
        }
    };
    let answers = join_all((0..10).map(|_| cache.get(key(1), ask))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(0)), "{answers:?}");
    assert_eq!(cache.get(key(1), ask).await, Ok(0));
    tokio::time::advance(TTL).await;
    assert_eq!(cache.get(key(1), ask).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_does_not_take_the_answer_along() {
    let cache = ReviewCache::<usize>::default();
    let (answer, answered) = oneshot::channel();
    let ask = async move { Ok((answered.await.unwrap(), TTL)) };
    let first = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(key(1), move || ask).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    answer.send(7).unwrap();
    assert_eq!(cache.get(key(1), pending).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_question_without_an_answer_ends_and_holds_no_other() {
    let cache = ReviewCache::<usize>::default();
    let hanging = cache.get(key(1), pending);
    let other = cache.get(key(2), || async { Ok((2, TTL)) });
    let (hanging, other) = tokio::join!(hanging, other);
    assert_eq!(other, Ok(2));
    let words = "the API server did not answer within 30 s";
    assert_eq!(hanging.unwrap_err().to_string(), words);
}

#[tokio::test(start_paused = true)]
async fn the_memory_is_bounded_and_the_oldest_answer_goes_first() {
    let cache = ReviewCache::<usize>::default();
    for number in 0..=CAPACITY {
        tokio::time::advance(Duration::from_nanos(1_000_000)).await;
        cache.get(key(number), || async move { Ok((number, 100 * TTL)) }).await.unwrap();
    }
    assert_eq!(cache.state().answers.len(), CAPACITY);
    assert!(cache.state().asking.is_empty());
    assert_eq!(cache.get(key(0), || async { Ok((9, TTL)) }).await, Ok(9), "it was forgotten");
    assert_eq!(cache.get(key(CAPACITY), pending).await, Ok(CAPACITY), "it is kept");
}

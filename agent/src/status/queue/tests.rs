use std::time::Duration;

use super::*;

#[tokio::test(start_paused = true)]
async fn pods_come_out_in_the_order_they_are_due_and_once_each() {
    let now = Instant::now();
    let later = |millis| now + Duration::from_millis(millis);
    let (a, b, c) = (PodUid::from("a"), PodUid::from("b"), PodUid::from("c"));
    let mut queue = WriteQueue::default();
    queue.bring_forward(&a, later(30));
    queue.bring_forward(&b, later(20));
    queue.bring_forward(&c, later(10));
    queue.bring_forward(&a, later(15));
    queue.bring_forward(&c, later(40));
    queue.remove(&b);
    assert_eq!(queue.next(), Some(later(10)));
    assert_eq!(queue.take_due(later(9)), None);
    assert_eq!(queue.take_due(later(50)), Some(c));
    assert_eq!(queue.take_due(later(50)), Some(a));
    assert_eq!((queue.take_due(later(50)), queue.next()), (None, None));
}

use std::time::Duration;

use super::*;

#[tokio::test(start_paused = true)]
async fn burst_is_spent_and_comes_back_with_time() {
    let begun = Instant::now();
    let mut limiter = PullLimiter::new(5, 10, begun).unwrap();
    let taken = |limiter: &mut PullLimiter, at| (0..20).filter(|_| limiter.try_take(at)).count();
    assert_eq!(taken(&mut limiter, begun), 10);
    assert_eq!(taken(&mut limiter, begun + Duration::from_secs(1)), 5);
    assert_eq!(taken(&mut limiter, begun + Duration::from_secs(3600)), 10);
    assert!(PullLimiter::new(0, 10, begun).is_none());
}

use super::{AccountingObjects, INVALID_DROPPED, LOCALHOST_ACCEPTED, ensure_counters};
use crate::testing::FakeAccounting;

#[tokio::test]
async fn missing_counters_are_left_out() {
    let counters = FakeAccounting::new();
    assert_eq!(ensure_counters(&*counters).await, AccountingObjects::ALL);
    assert_eq!(ensure_counters(&*counters).await, AccountingObjects::ALL, "again");
    assert_eq!(counters.names(), [INVALID_DROPPED, LOCALHOST_ACCEPTED]);

    let none = FakeAccounting::new();
    none.switch_off();
    assert_eq!(ensure_counters(&*none).await, AccountingObjects::default());
}

use k8s_openapi::api::core::v1 as api;

use super::*;
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_host::FakeMachine;

fn start(api: &FakeApi) -> watch::Sender<NodeView> {
    let (sender, view) = watch::channel(NodeView::unknown("node-1"));
    let machine = Arc::new(FakeMachine::default());
    let task = LeaseTask::new(Arc::new(api.clone()), machine, view, Duration::from_secs(40));
    tokio::spawn(task.run());
    sender
}

fn register(view: &watch::Sender<NodeView>) {
    let mut node = api::Node::default();
    node.metadata.uid = Some("uid-1".to_owned());
    view.send_modify(|view| view.node = Some(Arc::new(node)));
}

fn renewed_at(api: &FakeApi) -> Timestamp {
    api.lease().unwrap().spec.unwrap().renew_time.unwrap().0
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn lease_waits_for_the_node_and_names_it_as_owner() {
    let api = FakeApi::new("node-1");
    let view = start(&api);
    pass(60).await;
    assert!(api.calls().is_empty());
    register(&view);
    pass(1).await;
    let lease = api.lease().unwrap();
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("node-1"));
    assert_eq!(spec.lease_duration_seconds, Some(40));
    let owner = &lease.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Node", "uid-1"));
}

#[tokio::test(start_paused = true)]
async fn lease_is_renewed_four_times_in_its_duration() {
    let api = FakeApi::new("node-1");
    let view = start(&api);
    register(&view);
    pass(1).await;
    let first = renewed_at(&api);
    pass(42).await;
    assert_eq!(api.calls().iter().filter(|call| call.starts_with("replace_lease")).count(), 4);
    let passed = renewed_at(&api).duration_since(first).as_secs();
    assert!((40..=42).contains(&passed), "{passed}");
}

#[tokio::test(start_paused = true)]
async fn conflict_is_read_anew_at_once() {
    let api = FakeApi::new("node-1");
    let view = start(&api);
    register(&view);
    pass(1).await;
    let before = renewed_at(&api);
    api.fail_next("replace_lease", ApiError::Conflict("lease".into()));
    pass(11).await;
    assert!(renewed_at(&api) > before);
    assert!(api.calls().iter().any(|call| call.starts_with("get_lease")));
}

#[tokio::test(start_paused = true)]
async fn outage_is_outlived() {
    let api = FakeApi::new("node-1");
    let view = start(&api);
    register(&view);
    pass(1).await;
    for _ in 0..5 {
        api.fail_next("replace_lease", ApiError::Unavailable("down".into()));
    }
    for _ in 0..3 {
        api.fail_next("get_lease", ApiError::Unavailable("down".into()));
    }
    let before = renewed_at(&api);
    pass(12).await;
    assert!(renewed_at(&api) > before);
}

#[tokio::test(start_paused = true)]
async fn lease_that_exists_is_taken_over() {
    let api = FakeApi::new("node-1");
    let mut lease = Lease::default();
    lease.metadata.name = Some("node-1".to_owned());
    api.create_lease(&lease).await.unwrap();
    let view = start(&api);
    register(&view);
    pass(1).await;
    assert_eq!(api.lease().unwrap().spec.unwrap().holder_identity.as_deref(), Some("node-1"));
}

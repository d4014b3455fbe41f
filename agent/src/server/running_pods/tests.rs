use expect_test::expect;

use super::routes;
use crate::server::fixtures::{NodePodsBuilder, get};
use crate::testing::build::{pod, runtime};

#[tokio::test]
async fn pods_that_run_are_listed_with_their_running_containers() {
    let (web, done) = (pod("shop/web").build(), pod("shop/done").build());
    let pods = NodePodsBuilder::default()
        .runtime(runtime(&web).sandbox(0).running("main", 0).exited("old", 0, 1, 3).build())
        .runtime(runtime(&done).exited("main", 0, 0, 3).build())
        .build();
    let (code, kind, body) = get(routes(pods), "/runningpods/").await;
    assert_eq!((code, kind.as_str()), (200, "application/json"));
    expect![[r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"web","namespace":"shop","uid":"uid-web"},"spec":{"containers":[{"image":"image-main","name":"main"}]},"status":{}}]}"#]].assert_eq(&body);
}

#[tokio::test]
async fn nothing_is_claimed_before_the_runtime_was_listed() {
    let (code, _, body) = get(routes(NodePodsBuilder::default().build()), "/runningpods").await;
    let words = "the container runtime has not been listed yet\n";
    assert_eq!((code, body.as_str()), (500, words));
}

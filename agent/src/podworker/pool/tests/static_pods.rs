//! Lives of static pods.

use super::*;
use crate::model::PodSource;

fn version(hash: &str) -> PodBuilder {
    pod("ns/web").uid(hash).source(PodSource::File).container("app").grace(30)
}

impl Ground {
    /// What the manifests say from now on.
    fn say(&self, versions: &[&str]) {
        let pods = versions.iter().map(|hash| version(hash).build()).collect();
        self.statics.send_replace(Some(pods));
    }
}

#[tokio::test(start_paused = true)]
async fn static_pod_runs_while_the_api_server_is_away() {
    let mut ground = Ground::new();
    ground.api.break_watches();
    ground.say(&["one"]);
    ground.pass(1.0).await;
    assert_eq!(ground.runtime.running(), ["app"]);
    ground.say(&[]);
    ground.pass(40.0).await;
    assert!(ground.is_clear());
}

#[tokio::test(start_paused = true)]
async fn changed_manifest_ends_the_old_pod_before_the_new_one_starts() {
    let mut ground = Ground::new();
    ground.say(&["one"]);
    ground.pass(1.0).await;
    ground.runtime.ignore_sigterm("app");
    ground.say(&["two"]);
    ground.pass(20.0).await;
    // The old pod's grace of 30 s is not over.
    assert_eq!(ground.runtime.count("start_container"), 1, "{:?}", ground.runtime.calls());
    assert!(ground.states.borrow().contains_key(&PodUid::from("one")));
    ground.pass(20.0).await;
    assert_eq!(ground.runtime.count("start_container"), 2, "{:?}", ground.runtime.calls());
    assert_eq!(ground.runtime.running(), ["app"]);
    let states: Vec<_> = ground.states.borrow().keys().cloned().collect();
    assert_eq!(states, [PodUid::from("two")]);
}

#[tokio::test(start_paused = true)]
async fn manifest_that_comes_back_while_its_pod_ends_starts_it_anew() {
    let mut ground = Ground::new();
    ground.say(&["one"]);
    ground.pass(1.0).await;
    ground.runtime.ignore_sigterm("app");
    ground.say(&[]);
    ground.pass(1.0).await;
    ground.say(&["one"]);
    ground.pass(60.0).await;
    assert_eq!(ground.runtime.count("start_container"), 2, "{:?}", ground.runtime.calls());
    assert_eq!(ground.runtime.running(), ["app"]);
}

#[tokio::test(start_paused = true)]
async fn static_pod_is_adopted_by_the_next_agent() {
    let mut ground = Ground::new();
    ground.say(&["one"]);
    ground.pass(1.0).await;
    ground.kill_agent().await;
    ground.start_agent();
    ground.pass(5.0).await;
    assert_eq!(ground.runtime.count("start_container"), 1, "{:?}", ground.runtime.calls());
    assert_eq!(ground.runtime.running(), ["app"]);
}

#[tokio::test(start_paused = true)]
async fn static_pod_that_completed_stays_so_over_a_restart() {
    let mut ground = Ground::new();
    let once = || version("one").restart("Never").build();
    ground.statics.send_replace(Some([once()].into()));
    ground.pass(1.0).await;
    ground.runtime.exit("app", 0);
    ground.pass(5.0).await;
    ground.kill_agent().await;
    ground.start_agent();
    ground.pass(120.0).await;
    assert_eq!(ground.runtime.count("start_container"), 1, "{:?}", ground.runtime.calls());
}

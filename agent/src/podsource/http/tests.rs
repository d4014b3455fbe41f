use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::boundary::ManifestUrlError;

/// Gives its answers one after the other, the last one for ever.
struct Url {
    answers: Mutex<VecDeque<Result<String, ManifestUrlError>>>,
    asked: watch::Sender<usize>,
}

impl Url {
    fn answering(answers: impl IntoIterator<Item = Result<String, ManifestUrlError>>) -> Arc<Self> {
        let answers = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { answers, asked: watch::Sender::new(0) })
    }
}

#[async_trait]
impl ManifestUrl for Url {
    fn name(&self) -> String {
        "http://pods.test/".to_owned()
    }

    async fn fetch(&self) -> Result<Vec<u8>, ManifestUrlError> {
        let mut answers = self.answers.lock().unwrap();
        let last = answers.len() == 1;
        let answer = if last { answers[0].clone() } else { answers.pop_front().unwrap() };
        self.asked.send_modify(|count| *count += 1);
        answer.map(String::into_bytes)
    }
}

const PERIOD: Duration = Duration::from_secs(20);

fn start(url: &Arc<Url>) -> watch::Receiver<StaticPods> {
    let clock: WallClock = Arc::new(|| Timestamp::UNIX_EPOCH);
    let (task, pods) = UrlTask::new(Arc::clone(url) as _, "node", PERIOD, clock);
    tokio::spawn(task.run());
    pods
}

fn pod(name: &str, image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": image}]}})
}

fn list(items: &[Value]) -> Result<String, ManifestUrlError> {
    Ok(json!({"apiVersion": "v1", "kind": "PodList", "items": items}).to_string())
}

fn names(pods: &StaticPods) -> Vec<String> {
    pods.iter().flat_map(|pods| pods.iter()).map(|pod| pod.name().to_owned()).collect()
}

fn unreachable() -> Result<String, ManifestUrlError> {
    Err(ManifestUrlError::Unreachable("refused".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn pod_or_list_is_polled() {
    let url =
        Url::answering([Ok(pod("a", "i").to_string()), list(&[pod("a", "i"), pod("b", "i")])]);
    let begun = Instant::now();
    let mut pods = start(&url);
    let first = pods.wait_for(Option::is_some).await.unwrap().clone();
    assert_eq!(names(&first), ["a-node"]);
    let second = pods.wait_for(|pods| names(pods).len() == 2).await.unwrap().clone();
    assert_eq!(begun.elapsed(), PERIOD);
    // The pod that was there alone is the same one in a list.
    assert_eq!(first.unwrap()[0].uid(), second.unwrap()[0].uid());
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_empty_list() {
    let url = Url::answering([unreachable(), list(&[pod("a", "i")]), unreachable()]);
    let mut pods = start(&url);
    let mut asked = url.asked.subscribe();
    asked.wait_for(|count| *count == 1).await.unwrap();
    assert_eq!(*pods.borrow(), None);
    pods.wait_for(|pods| names(pods) == ["a-node"]).await.unwrap();
    asked.wait_for(|count| *count == 5).await.unwrap();
    assert_eq!(names(&pods.borrow()), ["a-node"]);
}

#[tokio::test(start_paused = true)]
async fn empty_answer_ends_all_pods() {
    let url = Url::answering([list(&[pod("a", "i")]), Ok(String::new())]);
    let mut pods = start(&url);
    pods.wait_for(|pods| names(pods).len() == 1).await.unwrap();
    pods.wait_for(|pods| pods.is_some() && names(pods).is_empty()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bad_pod_of_a_list_leaves_the_others_alone() {
    let first = list(&[pod("a", "i:1"), pod("b", "i:1")]);
    let second = list(&[pod("a", ""), pod("b", "i:2")]);
    let mut pods = start(&Url::answering([first, second]));
    let images = |pods: &StaticPods| -> Vec<String> {
        let images = pods.iter().flat_map(|pods| pods.iter());
        images.map(|pod| pod.spec().containers[0].image.clone().unwrap()).collect()
    };
    pods.wait_for(|pods| images(pods) == ["i:1", "i:1"]).await.unwrap();
    pods.wait_for(|pods| images(pods) == ["i:1", "i:2"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unchanged_answer_changes_nothing() {
    let url = Url::answering([list(&[pod("a", "i")])]);
    let mut pods = start(&url);
    pods.wait_for(Option::is_some).await.unwrap();
    pods.mark_unchanged();
    url.asked.subscribe().wait_for(|count| *count == 4).await.unwrap();
    assert!(!pods.has_changed().unwrap());
}

use std::io;
use std::sync::Mutex;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::*;
use crate::boundary::ManifestFile;

/// A directory in memory.
#[derive(Default)]
struct Files {
    /// `None` for a path that does not exist.
    texts: Mutex<Option<Vec<(&'static str, String)>>>,
    failing: Mutex<Option<io::ErrorKind>>,
    changed: Notify,
    scanned: Notify,
}

impl Files {
    fn write(&self, texts: &[(&'static str, &str)]) {
        let texts = texts.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
        *self.texts.lock().unwrap() = Some(texts);
    }
}

#[async_trait]
impl ManifestFiles for Files {
    async fn list(&self) -> io::Result<Option<Vec<ManifestFile>>> {
        self.scanned.notify_one();
        if let Some(kind) = *self.failing.lock().unwrap() {
            return Err(kind.into());
        }
        let file = |(path, text): &(&str, String)| ManifestFile {
            path: path.into(),
            content: Ok(text.clone().into_bytes()),
        };
        Ok(self.texts.lock().unwrap().as_ref().map(|texts| texts.iter().map(file).collect()))
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn manifest(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, \
         spec: {{containers: [{{name: main, image: i}}]}}}}"
    )
}

const PERIOD: Duration = Duration::from_secs(20);

fn start(files: &Arc<Files>) -> watch::Receiver<StaticPods> {
    let clock: WallClock = Arc::new(|| Timestamp::UNIX_EPOCH);
    let (task, pods) = ManifestsTask::new(Arc::clone(files) as _, "node", PERIOD, clock);
    tokio::spawn(task.run());
    pods
}

fn count(pods: &StaticPods) -> Option<usize> {
    pods.as_ref().map(|pods| pods.len())
}

#[tokio::test(start_paused = true)]
async fn change_is_seen_at_once() {
    let files = Arc::new(Files::default());
    files.write(&[("/m/a", &manifest("a"))]);
    let mut pods = start(&files);
    pods.wait_for(|pods| count(pods) == Some(1)).await.unwrap();
    let begun = Instant::now();
    files.write(&[("/m/a", &manifest("a")), ("/m/b", &manifest("b"))]);
    files.changed.notify_one();
    pods.wait_for(|pods| count(pods) == Some(2)).await.unwrap();
    assert!(begun.elapsed() <= Duration::from_millis(60), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn missed_change_is_seen_with_the_next_scan() {
    let files = Arc::new(Files::default());
    files.write(&[]);
    let mut pods = start(&files);
    pods.wait_for(|pods| count(pods) == Some(0)).await.unwrap();
    let begun = Instant::now();
    files.write(&[("/m/a", &manifest("a"))]);
    pods.wait_for(|pods| count(pods) == Some(1)).await.unwrap();
    assert!(begun.elapsed() <= PERIOD + Duration::from_millis(10), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn path_that_does_not_exist_yet_counts_as_read() {
    let files = Arc::new(Files::default());
    let mut pods = start(&files);
    assert_eq!(count(&pods.wait_for(Option::is_some).await.unwrap()), Some(0));
    files.write(&[("/m/a", &manifest("a"))]);
    pods.wait_for(|pods| count(pods) == Some(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn directory_that_cannot_be_read_says_nothing() {
    let files = Arc::new(Files::default());
    *files.failing.lock().unwrap() = Some(io::ErrorKind::PermissionDenied);
    files.write(&[("/m/a", &manifest("a"))]);
    let mut pods = start(&files);
    files.scanned.notified().await;
    files.scanned.notified().await;
    assert_eq!(*pods.borrow(), None);
    *files.failing.lock().unwrap() = None;
    pods.wait_for(|pods| count(pods) == Some(1)).await.unwrap();
    *files.failing.lock().unwrap() = Some(io::ErrorKind::Other);
    files.scanned.notified().await;
    files.scanned.notified().await;
    assert_eq!(count(&pods.borrow()), Some(1));
}

#[tokio::test(start_paused = true)]
async fn file_an_editor_replaces_is_never_seen_as_gone() {
    let files = Arc::new(Files::default());
    files.write(&[("/m/a", &manifest("a"))]);
    let mut pods = start(&files);
    pods.wait_for(|pods| count(pods) == Some(1)).await.unwrap();
    files.write(&[]);
    files.changed.notify_one();
    tokio::time::advance(Duration::from_millis(20)).await;
    files.write(&[("/m/a", &manifest("other"))]);
    files.changed.notify_one();
    let next = pods.wait_for(|pods| {
        pods.as_ref().is_none_or(|pods| pods.first().is_none_or(|pod| pod.name() != "a-node"))
    });
    assert_eq!(count(&next.await.unwrap()), Some(1));
}

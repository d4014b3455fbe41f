use std::fs::{File, OpenOptions};
use std::io::Write;
use std::pin::Pin;

use futures::StreamExt;

use super::*;
use crate::container_logs::cri_log::Selection;
use crate::model::{Container, ContainerState};
use crate::testing::build;

const STAMP: &str = "2016-10-06T00:17:09.669794202Z stdout F ";

/// A container that writes a log as a runtime does.
struct Ground {
    root: tempfile::TempDir,
    path: PathBuf,
    writer: Option<File>,
    runtime: watch::Sender<Option<Arc<RuntimePods>>>,
    watch: Option<LogWatch>,
}

fn runtime(change: impl FnOnce(&mut Container)) -> Option<Arc<RuntimePods>> {
    let pod = build::pod("ns/a").container("c").build();
    let held = build::runtime(&pod).container_with("c", 0, change).build();
    let pods: RuntimePods = [(held.uid.clone(), Arc::new(held))].into();
    Some(Arc::new(pods))
}

type Texts = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl Ground {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("0.log");
        let started = build::at(1);
        let running = runtime(|c| c.state = ContainerState::Running { started_at: started });
        let watch = LogWatch::new().unwrap();
        tokio::spawn(watch.clone().run());
        let mut ground = Self {
            root,
            path,
            writer: None,
            runtime: watch::Sender::new(running),
            watch: Some(watch),
        };
        ground.open_writer();
        ground
    }

    fn open_writer(&mut self) -> Option<File> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
        self.writer.replace(file)
    }

    fn write(&mut self, text: &str) {
        let line = format!("{STAMP}{text}\n");
        self.writer.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// Rotates as the rotation and containerd together do; hands back what is still open.
    fn rotate(&mut self, stamp: u32) -> File {
        let rotated = self.root.path().join(format!("0.log.20260101-{stamp:06}"));
        std::fs::rename(&self.path, rotated).unwrap();
        self.open_writer().unwrap()
    }

    fn end(&mut self) {
        self.writer = None;
        self.runtime.send_replace(runtime(|c| c.state = build::exited(0, 5)));
    }

    async fn text(&self, options: LogOptions) -> Texts {
        let pods = self.runtime.borrow().clone().unwrap();
        let pod = pods.values().next().unwrap();
        let source = LogSource {
            pod: pod.uid.clone(),
            container: pod.containers[0].id.clone(),
            path: self.path.clone(),
            runtime: self.runtime.subscribe(),
        };
        let text = LogText::open(self.root.path(), source, options, self.watch.clone()).await;
        Box::pin(text.unwrap().into_stream())
    }

    async fn follow(&self) -> Texts {
        self.text(LogOptions { follow: true, ..LogOptions::default() }).await
    }
}

/// Takes text until it is `wanted`.
async fn expect(texts: &mut Texts, wanted: &str) {
    let mut found = String::new();
    while found.len() < wanted.len() {
        let piece = texts.next().await.expect("the text ended").unwrap();
        found.push_str(std::str::from_utf8(&piece).unwrap());
    }
    assert_eq!(found, wanted);
}

async fn rest(texts: Texts) -> String {
    let pieces: Vec<_> = texts.map(|piece| piece.unwrap()).collect().await;
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test]
async fn log_that_is_not_followed_ends_where_it_is() {
    let mut ground = Ground::new();
    ground.write("a");
    assert_eq!(rest(ground.text(LogOptions::default()).await).await, "a\n");
}

#[tokio::test]
async fn followed_log_goes_on_until_the_container_has_ended() {
    let mut ground = Ground::new();
    ground.write("a");
    let mut texts = ground.follow().await;
    expect(&mut texts, "a\n").await;
    ground.write("b");
    expect(&mut texts, "b\n").await;
    ground.write("c");
    ground.end();
    assert_eq!(rest(texts).await, "c\n");
}

#[tokio::test]
async fn container_of_which_nothing_is_known_is_followed_and_a_removed_one_is_not() {
    let mut ground = Ground::new();
    let mut texts = ground.follow().await;
    ground.runtime.send_replace(runtime(|c| c.state = ContainerState::Unknown));
    ground.write("a");
    expect(&mut texts, "a\n").await;
    ground.runtime.send_replace(None);
    ground.write("b");
    expect(&mut texts, "b\n").await;
    ground.runtime.send_replace(Some(Arc::default()));
    assert_eq!(rest(texts).await, "");
}

#[tokio::test]
async fn no_line_is_lost_or_doubled_while_the_log_is_rotated() {
    let mut ground = Ground::new();
    let mut texts = ground.follow().await;
    ground.write("0");
    expect(&mut texts, "0\n").await;
    for round in 1..12 {
        ground.write(&format!("{round} before"));
        let mut old = ground.rotate(round);
        // The runtime writes the new file while the old one gets its last lines.
        ground.write(&format!("{round} after"));
        writeln!(old, "{STAMP}{round} last").unwrap();
        drop(old);
        expect(&mut texts, &format!("{round} before\n{round} last\n{round} after\n")).await;
    }
}

#[tokio::test]
async fn reader_that_sleeps_through_rotations_gets_all_files() {
    let mut ground = Ground::new();
    let mut texts = ground.follow().await;
    ground.write("0");
    expect(&mut texts, "0\n").await;
    for round in 1..5 {
        ground.write(&round.to_string());
        drop(ground.rotate(round));
    }
    ground.write("5");
    ground.end();
    assert_eq!(rest(texts).await, "1\n2\n3\n4\n5\n");
}

#[tokio::test(start_paused = true)]
async fn rotated_log_that_nobody_closes_is_waited_for_only_so_long() {
    let mut ground = Ground::new();
    let mut texts = ground.follow().await;
    ground.write("a");
    let _open = ground.rotate(1);
    ground.write("b");
    expect(&mut texts, "a\nb\n").await;
}

#[tokio::test(start_paused = true)]
async fn log_is_followed_without_a_watch_too() {
    let mut ground = Ground::new();
    ground.watch = None;
    let mut texts = ground.follow().await;
    ground.write("a");
    expect(&mut texts, "a\n").await;
    drop(ground.rotate(1));
    ground.write("b");
    expect(&mut texts, "b\n").await;
    ground.end();
    assert_eq!(rest(texts).await, "");
}

#[tokio::test]
async fn limits_end_a_followed_log_too() {
    let mut ground = Ground::new();
    ground.write("abc");
    let selection = Selection { limit_bytes: Some(6), ..Selection::default() };
    let options = LogOptions { follow: true, selection, ..LogOptions::default() };
    let mut texts = ground.text(options).await;
    expect(&mut texts, "abc\n").await;
    ground.write("def");
    assert_eq!(rest(texts).await, "de");
}

#[tokio::test]
async fn tail_of_a_followed_log_is_followed_by_all_that_comes() {
    let mut ground = Ground::new();
    for line in ["a", "b", "c"] {
        ground.write(line);
    }
    let options = LogOptions { follow: true, tail: Some(1), ..LogOptions::default() };
    let mut texts = ground.text(options).await;
    expect(&mut texts, "c\n").await;
    for line in ["d", "e"] {
        ground.write(line);
    }
    ground.end();
    assert_eq!(rest(texts).await, "d\ne\n");
}

#[tokio::test]
async fn reader_that_goes_away_leaves_no_watch() {
    let mut ground = Ground::new();
    let mut texts = ground.follow().await;
    ground.write("a");
    expect(&mut texts, "a\n").await;
    let waiting = tokio::spawn(async move { texts.next().await.is_none() });
    while ground.watch.as_ref().unwrap().is_idle() {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    let _ = waiting.await;
    assert!(ground.watch.unwrap().is_idle());
}

use std::io::Write;

use super::*;

struct Ground {
    root: tempfile::TempDir,
    dir: LogDir,
    watch: LogWatch,
}

impl Ground {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("0.log"), "").unwrap();
        let dir = LogDir::open(root.path(), &root.path().join("0.log")).unwrap().0;
        let watch = LogWatch::new().unwrap();
        tokio::spawn(watch.clone().run());
        Self { root, dir, watch }
    }

    fn watched(&self) -> Watched {
        self.watch.watch(&self.dir, &self.dir.log("0.log").unwrap()).unwrap()
    }

    fn append(&self) -> std::fs::File {
        let path = self.root.path().join("0.log");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"x").unwrap();
        file
    }
}

#[tokio::test]
async fn all_readers_of_a_log_are_told_that_it_grew_and_is_closed() {
    let ground = Ground::new();
    let (one, other) = (ground.watched(), ground.watched());
    let writer = ground.append();
    one.changed().await;
    other.changed().await;
    assert!(!one.is_closed() && !other.is_closed());
    drop(writer);
    while !one.is_closed() {
        one.changed().await;
    }
    assert!(other.is_closed());
    let _writer = ground.append();
    while other.is_closed() {
        other.changed().await;
    }
}

#[tokio::test]
async fn renamed_log_and_its_successor_are_told() {
    let ground = Ground::new();
    let writer = ground.append();
    let watched = ground.watched();
    let path = ground.root.path().join("0.log");
    assert!(!watched.take_names_changed());
    std::fs::rename(&path, ground.root.path().join("0.log.1")).unwrap();
    while !watched.take_names_changed() {
        watched.changed().await;
    }
    std::fs::write(&path, "").unwrap();
    while !watched.take_names_changed() {
        watched.changed().await;
    }
    drop(writer);
    while !watched.is_closed() {
        watched.changed().await;
    }
}

#[tokio::test]
async fn nothing_is_watched_for_nobody() {
    let ground = Ground::new();
    let (one, other) = (ground.watched(), ground.watched());
    assert_eq!(ground.watch.0.readers().len(), 2);
    drop(one);
    assert_eq!(ground.watch.0.readers().len(), 2);
    drop(ground.append());
    other.changed().await;
    drop(other);
    assert!(ground.watch.0.readers().is_empty());
    let again = ground.watched();
    drop(ground.append());
    again.changed().await;
}

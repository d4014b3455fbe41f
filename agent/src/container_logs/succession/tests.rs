use super::*;

struct Ground {
    root: tempfile::TempDir,
    dir: LogDir,
}

impl Ground {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("0.log");
        std::fs::write(&path, "first").unwrap();
        let dir = LogDir::open(root.path(), &path).unwrap().0;
        Self { root, dir }
    }

    fn rotate(&self, stamp: &str, next: &str) {
        self.dir.rename("0.log", &format!("0.log.20260101-{stamp}")).unwrap();
        std::fs::write(self.root.path().join("0.log"), next).unwrap();
    }

    fn compress(&self, stamp: &str) {
        let name = format!("0.log.20260101-{stamp}");
        self.dir.compress(&name, "x.tmp", &format!("{name}.gz")).unwrap();
    }

    fn remove(&self, stamp: &str) {
        self.dir.remove(&format!("0.log.20260101-{stamp}")).unwrap();
    }

    fn open(&self) -> (LogFile, Mark) {
        open_current(&self.dir, "0.log").unwrap()
    }

    /// Texts of all files that follow, the last of which is the log itself.
    fn all_after(&self, (mut file, mut mark): (LogFile, Mark)) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(next) = find_next(&self.dir, "0.log", &file, &mark).unwrap() {
            let mut buffer = Vec::new();
            (file, mark) = (next.file, next.mark);
            file.read(&mut buffer, 99).unwrap();
            texts.push(String::from_utf8(buffer).unwrap());
        }
        texts
    }
}

#[test]
fn nothing_follows_the_log_itself() {
    let ground = Ground::new();
    assert!(ground.all_after(ground.open()).is_empty());
    let opened = ground.open();
    ground.dir.rename("0.log", "0.log.20260101-000001").unwrap();
    assert!(ground.all_after(opened).is_empty());
}

#[test]
fn files_follow_in_the_order_they_were_written() {
    let ground = Ground::new();
    ground.rotate("000001", "second");
    let opened = ground.open();
    for (stamp, next) in [("000002", "third"), ("000003", "fourth"), ("000004", "fifth")] {
        ground.rotate(stamp, next);
    }
    assert_eq!(ground.all_after(opened), ["third", "fourth", "fifth"]);
}

#[test]
fn compressed_files_follow_too() {
    let ground = Ground::new();
    let opened = ground.open();
    ground.rotate("000001", "second");
    ground.compress("000001");
    ground.rotate("000002", "third");
    ground.compress("000002");
    ground.rotate("000003", "fourth");
    assert_eq!(ground.all_after(opened), ["second", "third", "fourth"]);
}

#[test]
fn file_that_was_removed_is_followed_by_the_next_that_is_left() {
    let ground = Ground::new();
    let opened = ground.open();
    ground.rotate("000001", "second");
    ground.remove("000001");
    ground.rotate("000002", "third");
    assert_eq!(ground.all_after(opened), ["second", "third"]);
}

#[test]
fn log_that_was_replaced_without_a_rotated_name_is_followed_by_the_new_one() {
    let ground = Ground::new();
    let opened = ground.open();
    let path = ground.root.path().join("0.log");
    std::fs::rename(&path, ground.root.path().join("old")).unwrap();
    std::fs::write(&path, "second").unwrap();
    assert_eq!(ground.all_after(opened), ["second"]);
}

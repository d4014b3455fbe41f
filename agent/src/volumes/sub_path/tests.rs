use super::*;
use crate::testing::fake_host::FakeMounter;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};

struct Ground {
    top: tempfile::TempDir,
    layout: PodLayout,
    mounter: FakeMounter,
}

impl Ground {
    /// A volume with a directory `dir` and a file `file`.
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let layout = PodLayout::new(top.path(), &"u1".into()).unwrap();
        fs::create_dir_all(top.path().join("volume/dir")).unwrap();
        fs::write(top.path().join("volume/file"), "x").unwrap();
        Self { top, layout, mounter: FakeMounter::default() }
    }

    fn volume(&self) -> PathBuf {
        self.top.path().join("volume")
    }

    fn bind(&self, path: &str) -> Result<PathBuf, String> {
        let binder = Binder { layout: &self.layout, mounter: &self.mounter, container: "main" };
        let wanted = WantedSubPath { index: 2, volume: "data".to_owned(), path: path.to_owned() };
        binder.bind(&self.volume(), &wanted).map_err(|error| Causes(&error).to_string())
    }

    /// Names of the calls that changed something.
    fn changes(&self) -> Vec<String> {
        let calls = self.mounter.take_calls();
        let names = calls.iter().filter_map(|call| Some(call.split_once(' ')?.0.to_owned()));
        names.filter(|name| name != "list").collect()
    }
}

#[test]
fn part_is_bound_once_until_it_changes() {
    let ground = Ground::new();
    let target = ground.top.path().join("pods/u1/volume-subpaths/data/main/2");
    assert_eq!(ground.bind("dir"), Ok(target.clone()));
    assert!(target.is_dir());
    assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o750);
    assert_eq!(ground.changes(), ["bind_open"]);
    // As the next agent finds it.
    assert_eq!(ground.bind("dir"), Ok(target.clone()));
    assert_eq!(ground.changes(), Vec::<String>::new());
    // A directory of the same name is not the same directory.
    fs::rename(ground.volume().join("dir"), ground.volume().join("old")).unwrap();
    fs::create_dir(ground.volume().join("dir")).unwrap();
    assert_eq!(ground.bind("dir"), Ok(target));
    assert_eq!(ground.changes(), ["unmount", "bind_open"]);
}

#[test]
fn place_has_the_kind_of_the_part() {
    let ground = Ground::new();
    for (path, directory) in [("dir", true), ("file", false), ("new/deep", true)] {
        let target = ground.bind(path).unwrap();
        assert_eq!(target.is_dir(), directory, "{path}");
    }
    assert!(ground.volume().join("new/deep").is_dir());
}

#[test]
fn refusal_says_nothing_of_what_was_found() {
    let ground = Ground::new();
    symlink("/etc", ground.volume().join("out")).unwrap();
    symlink("gone", ground.volume().join("dangling")).unwrap();
    let prepare = "failed to prepare subPath for volumeMount \"data\" of container \"main\"";
    for path in ["out", "out/passwd", "out/no-such-file", "file/below"] {
        assert_eq!(ground.bind(path), Err(prepare.to_owned()), "{path}");
    }
    assert_eq!(
        ground.bind("dangling"),
        Err("failed to create subPath directory for volumeMount \"data\" of container \"main\""
            .to_owned())
    );
    assert_eq!(ground.changes(), Vec::<String>::new());
    ground.mounter.fail_next("bind_open", io::ErrorKind::OutOfMemory);
    assert_eq!(ground.bind("dir"), Err(prepare.to_owned()));
    ground.bind("dir").unwrap();
}

#[test]
fn interrupted_binding_is_done_again() {
    let ground = Ground::new();
    // Killed between the place and the mount, when the part was of the other kind.
    let target = ground.layout.sub_path("data", "main", 2).unwrap();
    fs::create_dir_all(&target).unwrap();
    ground.bind("file").unwrap();
    assert!(target.is_file());
    // What is not empty is not removed.
    let ground = Ground::new();
    let target = ground.layout.sub_path("data", "main", 2).unwrap();
    fs::create_dir_all(target.join("kept")).unwrap();
    ground.bind("file").unwrap_err();
    assert!(target.join("kept").is_dir());
}

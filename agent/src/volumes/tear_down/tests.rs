use super::*;
use crate::adapters::linux::{LinuxMounter, sub_path};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// A pod `u1` with an empty volume `cache`, in a mount namespace of this test's thread, beside a
/// directory `kept` that holds a file; `None` without the right to make one.
struct Ground {
    top: tempfile::TempDir,
    cache: PathBuf,
}

impl Ground {
    fn new() -> Option<Self> {
        let none: Option<&str> = None;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        unshare(CloneFlags::CLONE_NEWNS).ok()?;
        mount(none, "/", none, private, none).ok()?;
        let top = tempfile::tempdir().unwrap();
        let layout = PodLayout::new(&top.path().canonicalize().unwrap(), &"u1".into()).unwrap();
        let cache = layout.volume(layout::EMPTY_DIR, "cache").unwrap();
        fs::create_dir_all(&cache).unwrap();
        fs::create_dir(top.path().join("kept")).unwrap();
        fs::write(top.path().join("kept/f"), "x").unwrap();
        Some(Self { top, cache })
    }

    fn root(&self) -> PathBuf {
        self.top.path().canonicalize().unwrap()
    }

    fn bind_kept(&self, target: &Path) {
        let kept = File::open(self.top.path().join("kept")).unwrap();
        fs::create_dir_all(target).unwrap();
        LinuxMounter.bind_open(kept.as_fd(), target).unwrap();
    }

    fn tear_down(&self) -> Result<(), VolumeError> {
        tear_down(&self.root(), &"u1".into(), &LinuxMounter)
    }

    fn assert_kept(&self) {
        assert_eq!(fs::read_to_string(self.top.path().join("kept/f")).unwrap(), "x");
    }
}

#[test]
fn foreign_mount_inside_a_volume_stops_the_removal() {
    let Some(ground) = Ground::new() else { return };
    fs::write(ground.cache.join("own"), "x").unwrap();
    let inside = ground.cache.join("a/b/mount");
    ground.bind_kept(&inside);
    for _ in 0..3 {
        let error = ground.tear_down().unwrap_err();
        assert!(matches!(&error, VolumeError::StillMounted(path) if *path == inside), "{error}");
        ground.assert_kept();
        assert!(ground.cache.join("own").exists());
    }
    LinuxMounter.unmount(&inside).unwrap();
    ground.tear_down().unwrap();
    ground.assert_kept();
    assert!(!ground.root().join("pods/u1").exists());
}

#[test]
fn volumes_and_their_parts_are_taken_away_and_what_they_showed_stays() {
    let Some(ground) = Ground::new() else { return };
    let layout = PodLayout::new(&ground.root(), &"u1".into()).unwrap();
    let shm = layout.volume(layout::EMPTY_DIR, "shm").unwrap();
    fs::create_dir_all(&shm).unwrap();
    LinuxMounter.mount_tmpfs(&shm, Some(1 << 20)).unwrap();
    // A part of the tmpfs, bound twice over, and a part of a directory of the host.
    let part = sub_path::open_or_make(&shm, Path::new("part")).unwrap();
    let target = layout.sub_path("shm", "main", 0).unwrap();
    fs::create_dir_all(&target).unwrap();
    LinuxMounter.bind_open(part.as_fd(), &target).unwrap();
    LinuxMounter.bind_open(part.as_fd(), &target).unwrap();
    drop(part);
    ground.bind_kept(&layout.sub_path("host", "main", 1).unwrap());
    ground.tear_down().unwrap();
    ground.assert_kept();
    assert!(!ground.root().join("pods/u1").exists());
    assert_eq!(LinuxMounter.list(&ground.root()).unwrap(), []);
    ground.tear_down().unwrap();
}

#[test]
fn link_in_the_place_of_a_volume_is_not_followed() {
    let Some(ground) = Ground::new() else { return };
    fs::remove_dir(&ground.cache).unwrap();
    std::os::unix::fs::symlink(ground.top.path().join("kept"), &ground.cache).unwrap();
    ground.tear_down().unwrap();
    ground.assert_kept();
}

use super::*;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{RenameFlags, renameat2};

/// A volume with a file `in/f`, beside a directory `outside` with a file `secret`.
struct Ground {
    top: tempfile::TempDir,
    volume: PathBuf,
}

impl Ground {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let volume = top.path().join("volume");
        fs::create_dir_all(volume.join("in")).unwrap();
        fs::write(volume.join("in/f"), "inside").unwrap();
        fs::create_dir(top.path().join("outside")).unwrap();
        fs::write(top.path().join("outside/secret"), "x").unwrap();
        Self { top, volume }
    }

    fn outside(&self) -> PathBuf {
        self.top.path().join("outside")
    }

    fn open(&self, path: &str) -> Result<SubPath, SubPathError> {
        open_or_make(&self.volume, Path::new(path))
    }
}

fn inode(part: &SubPath) -> u64 {
    File::from(part.file.try_clone().unwrap()).metadata().unwrap().ino()
}

#[test]
fn directories_and_files_are_opened() {
    let ground = Ground::new();
    let directory = ground.open("in").unwrap();
    assert!(directory.directory);
    assert_eq!(inode(&directory), fs::metadata(ground.volume.join("in")).unwrap().ino());
    let file = ground.open("./in//f").unwrap();
    assert!(!file.directory);
    assert_eq!(inode(&file), fs::metadata(ground.volume.join("in/f")).unwrap().ino());
    assert!(ground.open(".").unwrap().directory);
}

#[test]
fn pipe_is_not_waited_for() {
    let ground = Ground::new();
    nix::unistd::mkfifo(&ground.volume.join("pipe"), Mode::S_IRWXU).unwrap();
    assert!(!ground.open("pipe").unwrap().directory);
}

#[test]
fn missing_directories_get_the_volumes_mode() {
    let ground = Ground::new();
    fs::set_permissions(&ground.volume, fs::Permissions::from_mode(0o2777)).unwrap();
    let made = ground.open("in/a/b").unwrap();
    assert!(made.directory);
    for path in ["in/a", "in/a/b"] {
        let mode = fs::metadata(ground.volume.join(path)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o2777, "{path}");
    }
    let before = fs::metadata(ground.volume.join("in")).unwrap().mode();
    ground.open("in/a/b").unwrap();
    assert_eq!(fs::metadata(ground.volume.join("in")).unwrap().mode(), before);
}

#[test]
fn links_that_stay_inside_are_followed() {
    let ground = Ground::new();
    symlink("in", ground.volume.join("..data")).unwrap();
    symlink("..data/f", ground.volume.join("key")).unwrap();
    symlink("../in", ground.volume.join("in/self")).unwrap();
    let wanted = fs::metadata(ground.volume.join("in/f")).unwrap().ino();
    for path in ["key", "..data/f", "in/self/f"] {
        assert_eq!(inode(&ground.open(path).unwrap()), wanted, "{path}");
    }
    // As on the host: an absolute link, also one that leaves and comes back.
    symlink(ground.volume.canonicalize().unwrap().join("in"), ground.volume.join("absolute"))
        .unwrap();
    symlink("../volume/in", ground.volume.join("around")).unwrap();
    for path in ["absolute/f", "around/f"] {
        assert_eq!(inode(&ground.open(path).unwrap()), wanted, "{path}");
    }
    ground.open("..data/new").unwrap();
    assert!(ground.volume.join("in/new").is_dir());
}

#[test]
fn nothing_leads_out() {
    let ground = Ground::new();
    symlink(ground.outside(), ground.volume.join("absolute")).unwrap();
    symlink("../outside", ground.volume.join("relative")).unwrap();
    symlink("../../outside/secret", ground.volume.join("in/file")).unwrap();
    symlink("/proc/self/root", ground.volume.join("magic")).unwrap();
    symlink("loop", ground.volume.join("loop")).unwrap();
    for path in [
        "absolute",
        "absolute/secret",
        "absolute/new",
        "relative",
        "relative/new/deep",
        "in/file",
        "magic",
        "magic/tmp",
        "loop",
        "in/f/below",
        "..",
        "../outside",
        "in/../../outside",
        "/etc",
    ] {
        assert!(matches!(ground.open(path), Err(SubPathError::Open(_))), "{path}");
    }
    // A link to nothing is not made true.
    symlink("gone", ground.volume.join("dangling")).unwrap();
    for path in ["dangling", "dangling/deep"] {
        assert!(matches!(ground.open(path), Err(SubPathError::Create(_))), "{path}");
    }
    assert!(ground.open("nul\0").is_err());
    assert!(ground.open(&"n".repeat(300)).is_err());
    let names: Vec<_> = fs::read_dir(ground.outside()).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(fs::read_dir(&ground.volume).unwrap().count(), 6);
}

/// Exchanges two names until told to stop.
fn swap(dir: &Path, stop: &AtomicBool) -> u64 {
    let dir = File::open(dir).unwrap();
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        renameat2(&dir, "x", &dir, "y", RenameFlags::RENAME_EXCHANGE).unwrap();
        swaps += 1;
    }
    swaps
}

#[test]
fn directory_swapped_for_a_link_never_leads_out() {
    let ground = Ground::new();
    // x/deep is inside or, through the link, outside; the race is over every component.
    fs::create_dir_all(ground.volume.join("x/deep")).unwrap();
    fs::create_dir_all(ground.outside().join("deep")).unwrap();
    symlink(ground.outside(), ground.volume.join("y")).unwrap();
    let inside = fs::metadata(ground.volume.join("x/deep")).unwrap().ino();
    let stop = AtomicBool::new(false);
    let (mut found, mut refused) = (0_u32, 0_u32);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(&ground.volume, &stop));
        // Until both were seen often; a bound keeps a broken test from running for ever.
        for _ in 0..2_000_000_u32 {
            match ground.open("x/deep") {
                Ok(part) => {
                    assert_eq!(inode(&part), inside);
                    found += 1;
                }
                Err(_) => refused += 1,
            }
            if found >= 1000 && refused >= 1000 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(swapper.join().unwrap() > 0);
    });
    assert!(found >= 1000 && refused >= 1000, "{found} found, {refused} refused");
}

#[test]
fn directory_made_in_a_race_is_made_inside() {
    let ground = Ground::new();
    fs::create_dir(ground.volume.join("x")).unwrap();
    symlink(ground.outside(), ground.volume.join("y")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(&ground.volume, &stop));
        for number in 0..5000_u32 {
            let _ = ground.open(&format!("x/new-{number}/deep"));
        }
        stop.store(true, Ordering::Relaxed);
        swapper.join().unwrap();
    });
    assert_eq!(fs::read_dir(ground.outside()).unwrap().count(), 1);
}

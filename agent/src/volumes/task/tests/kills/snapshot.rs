//! What is on disk and mounted, as text to compare.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::adapters::linux::LinuxMounter;
use crate::boundary::Mounter;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order they were made, without regard to order between volumes.
    pub mounts: Vec<String>,
    /// Path, mode, owner, and content or target.
    pub files: Vec<String>,
}

impl Snapshot {
    /// Lines that only one of the two has.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let one = |mark: char, a: &[String], b: &[String]| {
            let only = a.iter().filter(|line| !b.contains(line));
            only.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
        };
        let files = [one('-', &self.files, &other.files), one('+', &other.files, &self.files)];
        let mounts = [one('-', &self.mounts, &other.mounts), one('+', &other.mounts, &self.mounts)];
        let counts = format!("{} mounts", other.mounts.len());
        let more = (self.mounts.len() != other.mounts.len()).then_some(counts);
        files.concat().into_iter().chain(mounts.concat()).chain(more).collect()
    }
}

/// Everything below `place`; the names of generations are made equal.
pub fn snapshot(place: &Path) -> Snapshot {
    let mut mounts: Vec<String> = LinuxMounter
        .list(place)
        .unwrap()
        .into_iter()
        .map(|mount| format!("{} {} {}", mount.target.display(), mount.fs_type, mount.source))
        .collect();
    mounts.sort();
    let mut files = Vec::new();
    walk(&place.join("root"), &mut files);
    files.sort();
    Snapshot { mounts, files }
}

fn walk(dir: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            general(fs::read_link(&path).unwrap().to_str().unwrap())
        } else if metadata.is_dir() {
            walk(&path, files);
            String::new()
        } else {
            fs::read(&path).unwrap().escape_ascii().to_string()
        };
        let (uid, gid) = (metadata.uid(), metadata.gid());
        let path = general(path.to_str().unwrap());
        files.push(format!("{path} {:o} {uid}:{gid} {content}", metadata.mode()));
    }
}

/// The path with every generation named alike.
fn general(path: &str) -> String {
    let part = |part: &str| match part.starts_with("..2") {
        true => "..generation".to_owned(),
        false => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

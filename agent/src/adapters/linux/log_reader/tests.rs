use std::io::Write;
use std::os::unix::fs::symlink;

use super::*;

fn read(file: &mut LogFile, most: usize) -> String {
    let mut buffer = Vec::new();
    file.read(&mut buffer, most).unwrap();
    String::from_utf8(buffer).unwrap()
}

/// A root with the log `pod/c/0.log`.
fn log(text: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("pod/c/0.log");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    (root, path)
}

#[test]
fn log_is_read_in_pieces_and_goes_on_where_it_ended() {
    let (root, path) = log("abcdef");
    let (dir, name) = LogDir::open(root.path(), &path).unwrap();
    assert_eq!(name, "0.log");
    let mut file = dir.log(&name).unwrap();
    assert_eq!(read(&mut file, 4), "abcd");
    assert_eq!(read(&mut file, 4), "ef");
    assert_eq!(read(&mut file, 4), "");
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"gh").unwrap();
    assert_eq!(read(&mut file, 4), "gh");
    std::fs::write(&path, "new").unwrap();
    assert_eq!(read(&mut file, 4), "new");
}

#[test]
fn start_is_looked_for_from_the_end() {
    let (root, path) = log("aa\nbb\ncc\n");
    let mut file = LogDir::open(root.path(), &path).unwrap().0.log("0.log").unwrap();
    let mut seen = Vec::new();
    let find = |block: &[u8]| {
        seen.push(String::from_utf8(block.to_vec()).unwrap());
        (seen.len() == 2).then_some(1)
    };
    file.seek_back(4, find).unwrap();
    assert_eq!(read(&mut file, 99), "\nbb\ncc\n");
    assert_eq!(seen, ["\ncc\n", "a\nbb"]);
}

#[test]
fn compressed_log_is_decompressed() {
    let (root, path) = log("");
    let gz = path.with_file_name("0.log.20260101-000001.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(File::create(&gz).unwrap(), flate2::Compression::fast());
    encoder.write_all(b"abcdef").unwrap();
    encoder.finish().unwrap();
    let dir = LogDir::open(root.path(), &path).unwrap().0;
    let mut file = dir.log("0.log.20260101-000001.gz").unwrap();
    file.seek_back(4, |_| Some(0)).unwrap();
    assert_eq!(read(&mut file, 4), "abcd");
    assert_eq!(read(&mut file, 4), "ef");
    assert_eq!(read(&mut file, 4), "");
    assert!(!file.is_same(&dir.log("0.log").unwrap()));
}

#[test]
fn nothing_is_opened_through_a_link_or_outside() {
    let (root, path) = log("x");
    let link = path.with_file_name("1.log");
    symlink("/etc/passwd", &link).unwrap();
    let dir = LogDir::open(root.path(), &path).unwrap().0;
    assert!(dir.log("1.log").is_err());
    assert!(dir.log("../../../etc/passwd").is_err());
    symlink(root.path().join("pod"), root.path().join("other")).unwrap();
    assert!(LogDir::open(root.path(), &root.path().join("other/c/0.log")).is_err());
    assert!(LogDir::open(root.path(), Path::new("/etc/passwd")).is_err());
    assert!(LogDir::open(root.path(), root.path()).is_err());
    // The administrator may keep all logs elsewhere.
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("logs");
    symlink(root.path(), &moved).unwrap();
    assert!(LogDir::open(&moved, &moved.join("pod/c/0.log")).is_ok());
}

#[test]
fn pipe_in_the_place_of_a_log_is_refused() {
    let (root, path) = log("x");
    nix::unistd::mkfifo(&path.with_file_name("1.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let dir = LogDir::open(root.path(), &path).unwrap().0;
    assert!(dir.log("1.log").is_err());
}

use std::path::PathBuf;

use super::super::cri_log::Selection;
use super::*;
use crate::adapters::linux::log_reader::LogDir;

const STAMP: &str = "2016-10-06T00:17:09.669794202Z stdout F ";

struct Log {
    _root: tempfile::TempDir,
    dir: LogDir,
    path: PathBuf,
}

fn log(content: &str) -> Log {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("0.log");
    std::fs::write(&path, content).unwrap();
    let dir = LogDir::open(root.path(), &path).unwrap().0;
    Log { _root: root, dir, path }
}

fn numbered(lines: usize) -> String {
    (0..lines).map(|line| format!("{STAMP}{line}\n")).collect()
}

fn read(log: &Log, options: &LogOptions) -> (Vec<usize>, String, Then) {
    let mut reading = Reading::begin(log.dir.log("0.log").unwrap(), options).unwrap();
    let (mut sizes, mut text) = (Vec::new(), Vec::new());
    loop {
        let piece = reading.next().unwrap();
        text.extend_from_slice(&piece.text);
        sizes.push(piece.text.len());
        if piece.then != Then::More {
            assert_eq!(reading.buffer.capacity(), 0);
            return (sizes, String::from_utf8(text).unwrap(), piece.then);
        }
    }
}

#[test]
fn large_log_comes_in_pieces_of_limited_size() {
    let log = log(&numbered(100_000));
    let (sizes, text, then) = read(&log, &LogOptions::default());
    assert_eq!(text, (0..100_000).map(|line| format!("{line}\n")).collect::<String>());
    assert!(sizes.len() > 2 && sizes.iter().all(|size| *size < 2 * READ), "{sizes:?}");
    assert_eq!(then, Then::EndOfFile);
}

#[test]
fn line_longer_than_all_buffers_comes_in_pieces() {
    let log = log(&format!("{STAMP}{}\n", "x".repeat(5 * READ)));
    let (sizes, text, _) = read(&log, &LogOptions::default());
    assert_eq!(text.len(), 5 * READ + 1);
    assert!(sizes.iter().all(|size| *size < 2 * READ), "{sizes:?}");
}

#[test]
fn last_lines_are_found_across_blocks() {
    let log = log(&numbered(100_000));
    for lines in [0, 1, 3, 5_000] {
        let options = LogOptions { tail: Some(lines), ..LogOptions::default() };
        let (_, text, then) = read(&log, &options);
        assert_eq!(text.lines().count() as u64, lines);
        assert_eq!(then, if lines == 0 { Then::EndOfFile } else { Then::NoMore });
        let first = text.lines().next().map(str::to_owned);
        assert_eq!(first, (lines > 0).then(|| (100_000 - lines).to_string()));
    }
}

#[test]
fn tail_counts_no_line_that_is_written_later_unless_it_is_followed() {
    let log = log(&numbered(3));
    let options = LogOptions { tail: Some(2), ..LogOptions::default() };
    let mut reading = Reading::begin(log.dir.log("0.log").unwrap(), &options).unwrap();
    let follow = LogOptions { follow: true, ..options };
    let mut following = Reading::begin(log.dir.log("0.log").unwrap(), &follow).unwrap();
    std::fs::write(&log.path, numbered(5)).unwrap();
    assert_eq!(reading.next().unwrap().text, "1\n2\n");
    assert_eq!(following.next().unwrap().text, "1\n2\n3\n4\n");
}

#[test]
fn nothing_wanted_is_looked_at_for_long_in_one_go() {
    let log = log(&numbered(600_000));
    let since = Some(i128::MAX);
    let selection = Selection { since, ..Selection::default() };
    let options = LogOptions { selection, ..LogOptions::default() };
    let (sizes, text, _) = read(&log, &options);
    assert!(text.is_empty() && sizes.len() > 1);
}

#[test]
fn next_file_goes_on_and_foreign_lines_are_counted() {
    let first = log(&format!("junk\n{STAMP}a\n2016-"));
    let second = log(&format!("{STAMP}b\n"));
    let mut reading =
        Reading::begin(first.dir.log("0.log").unwrap(), &LogOptions::default()).unwrap();
    assert_eq!(reading.next().unwrap().text, "a\n");
    reading.go_on_with(second.dir.log("0.log").unwrap());
    assert_eq!(reading.next().unwrap().text, "b\n");
    assert_eq!(reading.malformed(), 1);
}

//! Pure. Reader of /proc/self/mountinfo, see proc_pid_mountinfo(5).

use std::path::PathBuf;

use super::proc_parse::unescape_octal;
use crate::boundary::MountEntry;

/// One mount per line, in the order of the file; lines that are not of the documented form are
/// skipped.
pub fn parse_mountinfo(text: &str) -> Vec<MountEntry> {
    text.lines().filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /target rw,noatime shared:1 master:2 - ext4 /dev/sda1 rw`: any number of
/// optional fields stands before the lone dash.
fn parse_line(line: &str) -> Option<MountEntry> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let target = left.nth(4)?;
    let shared = left.skip(1).any(|field| field.starts_with("shared:"));
    let mut right = right.split(' ');
    Some(MountEntry {
        target: PathBuf::from(unescape_octal(target)),
        fs_type: right.next()?.to_owned(),
        source: unescape_octal(right.next()?),
        shared,
    })
}

#[cfg(test)]
mod tests;

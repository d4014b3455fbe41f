//! Container logs, whose text is whatever a container writes, and whose files may be cut or damaged.
//! The first bytes of an input say what is wanted of the log and how it is cut; the rest is the log.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "shared with the crate")]
#[path = "../../../src/container_logs/cri_log.rs"]
mod cri_log;

use cri_log::{Selection, Stream, TailSearch, TextReader, parse_head};

/// What three bytes ask for.
fn selection([flags, bytes, lines]: [u8; 3]) -> Selection {
    Selection {
        stream: match flags & 3 {
            1 => Some(Stream::Stdout),
            2 => Some(Stream::Stderr),
            _ => None,
        },
        since: (flags & 4 != 0).then_some(1_475_713_029_500_000_000),
        timestamps: flags & 8 != 0,
        limit_bytes: (flags & 16 != 0).then_some(bytes.into()),
        lines: (flags & 32 != 0).then_some(lines.into()),
    }
}

fn text(selection: Selection, log: &[u8], piece: usize) -> Vec<u8> {
    let mut reader = TextReader::new(selection);
    let mut out = Vec::new();
    for piece in log.chunks(piece) {
        reader.push(piece, &mut out);
    }
    assert!(reader.malformed() <= log.iter().filter(|byte| **byte == b'\n').count() as u64 + 1);
    out
}

fuzz_target!(|input: &[u8]| {
    let Some((&[flags, bytes, lines, piece], log)) = input.split_first_chunk() else { return };
    let selection = selection([flags, bytes, lines]);
    let whole = text(selection, log, usize::MAX);
    assert_eq!(text(selection, log, usize::from(piece) + 1), whole);
    if let Some(limit) = selection.limit_bytes {
        assert!(whole.len() as u64 <= limit);
        let unlimited = text(Selection { limit_bytes: None, ..selection }, log, usize::MAX);
        assert!(unlimited.starts_with(&whole));
    } else if !selection.timestamps {
        assert!(whole.len() <= log.len());
    }
    if let Ok(head) = parse_head(log) {
        assert!(head.len <= log.len() && log[head.len - 1] == b' ');
    }
    let wanted = u64::from(lines);
    let mut search = TailSearch::new(wanted);
    let (mut end, mut start) = (log.len(), 0);
    while end > 0 {
        let begin = end.saturating_sub(usize::from(piece) + 1);
        if let Some(at) = search.look(&log[begin..end]) {
            start = begin + at;
            break;
        }
        end = begin;
    }
    let ends = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!(ends(&log[start..]), wanted.min(ends(log)));
});

use proptest::prelude::*;

use super::*;

const DAY: &str = "2016-10-06T00:17:09.669794202Z";

fn read(selection: Selection, log: &str) -> String {
    let mut reader = TextReader::new(selection);
    let mut out = Vec::new();
    reader.push(log.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

fn all(log: &str) -> String {
    read(Selection::default(), log)
}

#[test]
fn head_names_time_stream_and_part() {
    let head = parse_head(b"2016-10-06T00:17:09.669794202Z stdout P text").unwrap();
    assert_eq!(head.time(), 1_475_713_029_669_794_202);
    assert_eq!((head.stream, head.is_partial, head.len), (Stream::Stdout, true, 40));
    let head = parse_head(b"2016-10-06T02:17:09+02:00 stderr F:x:y ").unwrap();
    assert_eq!(head.time(), 1_475_713_029_000_000_000);
    assert_eq!((head.stream, head.is_partial, head.len), (Stream::Stderr, false, 39));
    assert!(parse_head(b"2016-10-06T00:17:09Z stdout P:x text").unwrap().is_partial);
    assert!(!parse_head(b"2016-10-06T00:17:09Z stdout PX text").unwrap().is_partial);
}

#[test]
fn times_are_those_of_the_calendar() {
    let nanoseconds = |text: &str| Stamp::parse(text.as_bytes()).map(|stamp| stamp.time);
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59Z", -1),
        ("2000-02-29T12:00:00Z", 951_825_600),
        ("2024-02-29T23:59:59-00:30", 1_709_252_999),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
        ("0001-01-01T00:00:00Z", -62_135_596_800),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ] {
        assert_eq!(nanoseconds(text), Some(seconds * 1_000_000_000), "{text}");
    }
    assert_eq!(nanoseconds("1970-01-01T00:00:00.000000001Z"), Some(1));
    assert_eq!(nanoseconds("1970-01-01T00:00:00.1234567891Z"), Some(123_456_789));
    for text in [
        "2023-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2023-13-01T00:00:00Z",
        "2023-00-01T00:00:00Z",
        "2023-01-00T00:00:00Z",
        "2023-01-01T24:00:00Z",
        "2023-01-01T00:60:00Z",
        "2023-01-01T00:00:60Z",
        "2023-01-01T00:00:00",
        "2023-01-01T00:00:00.Z",
        "2023-01-01T00:00:00.5",
        "2023-01-01T00:00:00+0200",
        "2023-01-01T00:00:00+24:00",
        "2023-01-01t00:00:00Z",
        "2023-01-01T00:00:00ZZ",
        "",
    ] {
        assert_eq!(nanoseconds(text), None, "{text}");
    }
}

#[test]
fn each_way_to_end_early_is_incomplete_and_all_else_malformed() {
    let whole = format!("{DAY} stderr F ");
    for end in 0..whole.len() {
        assert_eq!(parse_head(&whole.as_bytes()[..end]), Err(NoHead::Incomplete), "{end}");
    }
    for line in [
        "\n",
        "no time\n",
        &format!("{DAY}\n"),
        &format!("{DAY} stdin F text\n"),
        &format!("{DAY} stdout\n"),
        &format!("{DAY} stdout F\n"),
        &"x".repeat(LONGEST_HEAD),
        &format!("{DAY} stdout {}", "x".repeat(LONGEST_HEAD)),
    ] {
        assert_eq!(parse_head(line.as_bytes()), Err(NoHead::Malformed), "{line:?}");
    }
}

#[test]
fn parts_become_one_line_and_both_streams_are_mixed_as_written() {
    let log = format!("{DAY} stdout P a\n{DAY} stdout F b\n{DAY} stderr F c d \n{DAY} stdout F \n");
    assert_eq!(all(&log), "ab\nc d \n\n");
}

#[test]
fn no_line_end_is_added() {
    assert_eq!(all(&format!("{DAY} stdout F a\n{DAY} stdout P b\n")), "a\nb");
    assert_eq!(all(&format!("{DAY} stdout F a\n{DAY} stdout F b")), "a\nb");
    assert_eq!(all(&format!("{DAY} stdout F a\n{DAY} stdo")), "a\n");
}

#[test]
fn malformed_lines_are_left_out_and_counted() {
    let log = format!("\0\0\0\n{DAY} stdout F a\nnonsense\n\n{DAY} stdout F b\n");
    let mut reader = TextReader::new(Selection::default());
    let mut out = Vec::new();
    reader.push(log.as_bytes(), &mut out);
    assert_eq!((out.as_slice(), reader.malformed()), (b"a\nb\n".as_slice(), 3));
}

#[test]
fn times_stand_before_whole_lines_with_nine_digits() {
    let selection = Selection { timestamps: true, ..Selection::default() };
    let log = "2016-10-06T00:17:09.5Z stdout P a\n\
               2016-10-06T00:17:10Z stdout F b\n\
               2016-10-06T00:17:11+02:00 stdout F c\n\
               2016-10-06T00:17:12.123456789123-00:00 stdout F d\n";
    assert_eq!(
        read(selection, log),
        "2016-10-06T00:17:09.500000000Z ab\n\
         2016-10-06T00:17:11.000000000+02:00 c\n\
         2016-10-06T00:17:12.123456789Z d\n"
    );
}

#[test]
fn older_lines_and_other_streams_are_left_out() {
    let log = "2016-10-06T00:17:09Z stdout F a\n\
               2016-10-06T00:17:10Z stderr F b\n\
               2016-10-06T02:17:11+02:00 stdout F c\n";
    let since = Some(1_475_713_030_000_000_000);
    assert_eq!(read(Selection { since, ..Selection::default() }, log), "b\nc\n");
    let stream = Some(Stream::Stdout);
    assert_eq!(read(Selection { stream, ..Selection::default() }, log), "a\nc\n");
    assert_eq!(read(Selection { stream, since, ..Selection::default() }, log), "c\n");
}

#[test]
fn limits_are_exact_and_count_what_is_written() {
    let log = format!("{DAY} stdout F abc\n{DAY} stderr F def\n{DAY} stdout F ghi\n");
    for limit in 0..=12 {
        let limited = Selection { limit_bytes: Some(limit), ..Selection::default() };
        assert_eq!(read(limited, &log), "abc\ndef\nghi\n"[..usize::try_from(limit).unwrap()]);
    }
    let stamped = Selection { limit_bytes: Some(33), timestamps: true, ..Selection::default() };
    assert_eq!(read(stamped, &log), format!("{DAY} ab"));
    let stream = Some(Stream::Stderr);
    let other = Selection { stream, limit_bytes: Some(2), ..Selection::default() };
    assert_eq!(read(other, &log), "de");
    let lines = Selection { lines: Some(2), ..Selection::default() };
    assert_eq!(read(lines, &log), "abc\ndef\n");
    let mut reader = TextReader::new(lines);
    assert_eq!(reader.push(log.as_bytes(), &mut Vec::new()), Wanted::NoMore);
    assert_eq!(reader.push(log.as_bytes(), &mut Vec::new()), Wanted::NoMore);
}

#[test]
fn line_that_goes_on_in_another_file_has_one_time() {
    let mut reader = TextReader::new(Selection { timestamps: true, ..Selection::default() });
    let mut out = Vec::new();
    reader.push(format!("{DAY} stdout P a\n{DAY} stdo").as_bytes(), &mut out);
    reader.end_file();
    reader.push(format!("{DAY} stdout F b\n").as_bytes(), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), format!("{DAY} ab\n"));
}

#[test]
fn tail_begins_behind_the_right_line_end() {
    let start = |lines, text: &str, block: usize| {
        let mut search = TailSearch::new(lines);
        let mut end = text.len();
        while end > 0 {
            let begin = end.saturating_sub(block);
            if let Some(at) = search.look(&text.as_bytes()[begin..end]) {
                return begin + at;
            }
            end = begin;
        }
        0
    };
    for block in 1..8 {
        for (lines, text, wanted) in [
            (0, "a\nb\n", 4),
            (1, "a\nb\n", 2),
            (2, "a\nb\n", 0),
            (3, "a\nb\n", 0),
            (0, "a\nbc", 2),
            (1, "a\nbc", 0),
            (1, "\n\n\n", 2),
            (1, "", 0),
            (0, "abc", 0),
        ] {
            assert_eq!(start(lines, text, block), wanted, "{lines} {text:?} in blocks of {block}");
        }
    }
}

fn any_line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => ("[0-9]{0,9}", "stdout|stderr", "P|F|F:x", "[ -~]{0,40}").prop_map(
            |(digits, stream, tags, text)| {
                let dot = if digits.is_empty() { "" } else { "." };
                format!("2016-10-06T00:17:09{dot}{digits}Z {stream} {tags} {text}\n")
            }
        ),
        1 => "[ -~]{0,80}\n",
    ]
}

fn any_selection() -> impl Strategy<Value = Selection> {
    let stream = proptest::option::of(prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)]);
    let since = proptest::option::of(Just(1_475_713_029_500_000_000));
    let (bytes, lines) = (proptest::option::of(0..200_u64), proptest::option::of(0..9_u64));
    (stream, since, any::<bool>(), bytes, lines).prop_map(
        |(stream, since, timestamps, limit_bytes, lines)| Selection {
            stream,
            since,
            timestamps,
            limit_bytes,
            lines,
        },
    )
}

proptest! {
    #[test]
    fn text_does_not_depend_on_how_the_bytes_are_cut(
        lines in proptest::collection::vec(any_line(), 0..12),
        selection in any_selection(),
        cuts in proptest::collection::vec(1..60_usize, 1..40),
    ) {
        let log = lines.concat();
        let mut reader = TextReader::new(selection);
        let (mut out, mut rest) = (Vec::new(), log.as_bytes());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            reader.push(now, &mut out);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(String::from_utf8(out).unwrap(), read(selection, &log));
    }

    #[test]
    fn last_lines_are_as_many_as_asked_for(
        lines in proptest::collection::vec("[a-z]{0,9}\n", 0..20),
        wanted in 0..25_usize,
        block in 1..64_usize,
    ) {
        let text = lines.concat();
        let mut search = TailSearch::new(wanted as u64);
        let (mut end, mut start) = (text.len(), 0);
        while end > 0 {
            let begin = end.saturating_sub(block);
            if let Some(at) = search.look(&text.as_bytes()[begin..end]) {
                start = begin + at;
                break;
            }
            end = begin;
        }
        let last = &lines[lines.len().saturating_sub(wanted)..];
        prop_assert_eq!(&text[start..], last.concat());
    }
}

use super::Arguments;

fn parse(line: &str) -> Arguments {
    Arguments::parse(line.split_whitespace().map(str::to_owned))
}

#[test]
fn filters_pick_tests_as_libtest_does() {
    let table = [
        ("", "a::b", true),
        ("b", "a::b", true),
        ("c", "a::b", false),
        ("c a", "a::b", true),
        ("--exact b", "a::b", false),
        ("--exact a::b", "a::b", true),
        ("--skip b", "a::b", false),
        ("--skip=b --nocapture", "a::c", true),
        ("--test-threads 1 c", "a::c", true),
        ("--format pretty", "a::b", true),
    ];
    for (line, name, expected) in table {
        assert_eq!(parse(line).wants(name), expected, "{line} {name}");
    }
}

#[test]
fn thread_count_is_read_in_both_spellings() {
    assert_eq!(parse("--test-threads=3").threads, Some(3));
    assert_eq!(parse("--test-threads 4").threads, Some(4));
    assert_eq!(parse("").threads, None);
}

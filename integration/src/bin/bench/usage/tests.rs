use super::{parse_cpu, parse_memory};

#[test]
fn memory_is_read_in_mebibytes() {
    let text =
        "00400000-7fff---p 00000000 [rollup]\nRss:  2048 kB\nPss:  1024 kB\nPss_Dirty: 4 kB\n";
    assert_eq!(parse_memory(text, "Rss:"), Some(2.0));
    assert_eq!(parse_memory(text, "Pss:"), Some(1.0));
    assert_eq!(parse_memory("", "Rss:"), None);
}

#[test]
fn name_of_a_program_does_not_shift_the_fields() {
    let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 500 0 0 0 150 50 0 0 20 0 4 0 100 1 1";
    assert_eq!(parse_cpu(stat), Some(2.0));
    assert_eq!(parse_cpu("7 (a) S"), None);
}

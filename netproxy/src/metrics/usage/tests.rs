use prometheus::Registry;

use super::{Counted, Usage, parse_boot_time, parse_most_files, parse_stat};

#[test]
fn kernel_texts_are_read() {
    let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 4 0 \
                12345 1000000 256 18446744073709551615 1 1";
    let expected = Counted {
        cpu_ticks: 200,
        start_ticks: 12345,
        virtual_bytes: 1_000_000,
        resident_pages: 256,
    };
    assert_eq!(parse_stat(stat), Some(expected));
    assert_eq!(parse_stat("7 (a) S 1"), None);
    assert_eq!(parse_boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1.7e9));
    let limits = "Limit      Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
    assert_eq!(parse_most_files(limits), Some(1024.0));
    assert_eq!(parse_most_files("Max open files  unlimited  unlimited  files\n"), None);
}

#[test]
fn use_of_this_program_is_found() {
    let registry = Registry::new();
    let usage = Usage::new(&registry);
    usage.update();
    assert!(usage.resident_bytes.get() > 1e5 && usage.virtual_bytes.get() > 1e5);
    assert!(usage.open_files.get() >= 1.0 && usage.most_files.get() >= 1.0);
    assert!(usage.start.get() > 1.6e9);
}

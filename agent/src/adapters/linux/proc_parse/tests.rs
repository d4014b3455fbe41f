use proptest::prelude::*;

use super::*;

#[test]
fn meminfo_is_read_in_bytes() {
    let text = "MemTotal:       24576 kB\nMemFree:  1024 kB\nMemAvailable: 9 kB\nInactive(file):    512 kB\nSwapTotal: 0 kB\nHugePages_Total:       0\nnonsense\n";
    let memory = parse_meminfo(text);
    assert_eq!(
        memory,
        MemInfo {
            total: 24576 << 10,
            free: 1 << 20,
            inactive_file: 512 << 10,
            swap_total: 0,
            swap_free: 0
        }
    );
    assert_eq!(parse_meminfo(""), MemInfo::default());
}

#[test]
fn os_release_gives_the_pretty_name() {
    for (text, name) in [
        (
            "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
            "Debian GNU/Linux 12 (bookworm)",
        ),
        ("PRETTY_NAME='Flatcar'\n", "Flatcar"),
        ("PRETTY_NAME=Plain\n", "Plain"),
        ("NAME=x\n", "Linux"),
        ("PRETTY_NAME=\"\"\n", "Linux"),
    ] {
        assert_eq!(parse_os_release(text), name);
    }
}

#[test]
fn cpu_lists_are_counted() {
    for (text, count) in [
        ("0\n", Some(1)),
        ("0-3\n", Some(4)),
        ("0-1,4,6-7", Some(5)),
        ("", None),
        ("3-1", None),
        ("a", None),
    ] {
        assert_eq!(count_cpu_list(text), count, "{text:?}");
    }
}

#[test]
fn swaps_are_listed_without_the_heading() {
    let heading = "Filename\tType\tSize\tUsed\tPriority\n";
    assert!(parse_swaps(heading).is_empty());
    assert!(parse_swaps("").is_empty());
    let text = format!("{heading}/dev/sda2 partition 1 0 -2\n/swap\\040file file 1 0 -3\n");
    assert_eq!(parse_swaps(&text), ["/dev/sda2", "/swap file"]);
}

#[test]
fn small_files_are_read() {
    assert_eq!(parse_loadavg_threads("0.1 0.2 0.3 2/345 6789\n"), Some(345));
    assert_eq!(parse_loadavg_threads("0.1"), None);
    assert_eq!(parse_huge_page_dir("hugepages-2048kB"), Some(2 << 20));
    assert_eq!(parse_huge_page_dir("hugepages-x"), None);
    assert_eq!(go_architecture("x86_64"), "amd64");
    assert_eq!(go_architecture("s390x"), "s390x");
}

#[test]
fn octal_escapes_are_turned_back() {
    for (text, plain) in [
        ("/a\\040b", "/a b"),
        ("/tab\\011end\\134", "/tab\tend\\"),
        ("/odd\\04", "/odd\\04"),
        ("/odd\\999", "/odd\\999"),
        ("/high\\777", "/high\\777"),
    ] {
        assert_eq!(unescape_octal(text), plain);
    }
}

proptest! {
    #[test]
    fn readers_take_any_text(text in "\\PC{0,80}") {
        parse_meminfo(&text);
        parse_os_release(&text);
        count_cpu_list(&text);
        parse_swaps(&text);
        parse_loadavg_threads(&text);
        unescape_octal(&text);
    }
}

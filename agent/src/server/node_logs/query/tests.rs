use std::io::{Error, ErrorKind};

use expect_test::expect;

use super::*;

fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// What comes of a query: the arguments of journalctl, or what is wrong.
fn outcome(query: &str) -> String {
    let missing = Error::from(ErrorKind::NotFound);
    match parse(&pairs(query)) {
        Err(words) => format!("400 {words}"),
        Ok(None) => "no query".to_owned(),
        Ok(Some(query)) => match query.validate(query.files.first().map(|_| &missing)) {
            Err(words) => format!("406 {words}"),
            Ok(()) => query.journal_arguments(&query.services).join(" "),
        },
    }
}

#[test]
fn queries_become_arguments_or_the_kubelets_words() {
    let cases = [
        "",
        "pretty=true",
        "query=kubelet",
        "query=kubelet&query=containerd&tailLines=10&boot=-1",
        "query=a&sinceTime=2026-11-02T03:04:05Z&untilTime=2026-11-03T00:00:00%2B01:00",
        "query=a&pattern=x.*y",
        "query=%20",
        "query=",
        "tailLines=5",
        "query=a&tailLines=x&boot=y",
        "query=a&boot=1",
        "query=a&tailLines=100001",
        "query=a&sinceTime=yesterday",
        "query=a&sinceTime=2026-11-03T00:00:00Z&untilTime=2026-11-02T00:00:00Z",
        "query=a&query=b&query=c&query=d&query=e",
        "query=a%3Breboot",
        "query=-a%20b",
        "query=/a.log&query=b",
        "query=/a.log&query=/b.log",
        "query=/a.log&tailLines=1",
        "query=/a.log",
        "query=a&pattern=(",
    ];
    let lines = cases.map(|case| format!("{case}\n    {}\n", outcome(case)));
    expect![[r#"

            no query
        pretty=true
            no query
        query=kubelet
            --utc --no-pager --output=short-precise --unit=kubelet
        query=kubelet&query=containerd&tailLines=10&boot=-1
            --utc --no-pager --output=short-precise --pager-end --lines=10 --unit=kubelet --unit=containerd --boot -1
        query=a&sinceTime=2026-11-02T03:04:05Z&untilTime=2026-11-03T00:00:00%2B01:00
            --utc --no-pager --output=short-precise --since=2026-11-2 3:4:5 --until=2026-11-2 23:0:0 --unit=a
        query=a&pattern=x.*y
            --utc --no-pager --output=short-precise --unit=a --grep=x.*y
        query=%20
            400 query: Invalid value: [" "]: may not be empty
        query=
            400 query: Invalid value: [""]: may not be empty
        tailLines=5
            406 query: Required value: cannot be empty with options
        query=a&tailLines=x&boot=y
            400 [boot: Invalid value: "y": strconv.Atoi: parsing "y": invalid syntax, tailLines: Invalid value: "x": strconv.Atoi: parsing "x": invalid syntax]
        query=a&boot=1
            406 boot: Invalid value: 1: must be less than 1
        query=a&tailLines=100001
            406 tailLines: Invalid value: 100001: must be between 0 and 100000, inclusive
        query=a&sinceTime=yesterday
            400 sinceTime: Invalid value: "yesterday": invalid time format
        query=a&sinceTime=2026-11-03T00:00:00Z&untilTime=2026-11-02T00:00:00Z
            406 untilTime: Invalid value: "2026-11-02T00:00:00Z": must be after `sinceTime`
        query=a&query=b&query=c&query=d&query=e
            406 query: Too many: 5: must have at most 4 items
        query=a%3Breboot
            406 query: Invalid value: "a;reboot": input contains unsupported characters
        query=-a%20b
            406 query: Invalid value: "-a b": input contains unsupported characters
        query=/a.log&query=b
            406 query: Invalid value: "[/a.log], [b]": cannot specify a file and service
        query=/a.log&query=/b.log
            406 query: Invalid value: ["/a.log","/b.log"]: cannot specify more than one file
        query=/a.log&tailLines=1
            406 query: Invalid value: ["/a.log"]: cannot specify file with options
        query=/a.log
            406 query: Invalid value: ["/a.log"]: statat /a.log: no such file or directory
        query=a&pattern=(
            406 pattern: Invalid value: "(": error parsing regexp: error: unclosed group
    "#]].assert_eq(&lines.concat());
}

#[test]
fn long_names_are_refused() {
    let name = "a".repeat(257);
    let query = NodeLogQuery { services: vec![name], ..NodeLogQuery::default() };
    assert!(query.validate(None).unwrap_err().ends_with("length must be less than 256"));
}

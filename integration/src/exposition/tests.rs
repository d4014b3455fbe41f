use super::*;

const GOOD: &str = r#"# HELP a_total What a counts.
# TYPE a_total counter
a_total{id="/x",name="a\"b\\c\nd"} 1.5e+3 1700000000123
a_total{id="/y",name=""} 0
# HELP b What b is.
# TYPE b gauge
b +Inf
# HELP c_seconds How long c takes.
# TYPE c_seconds histogram
c_seconds_bucket{le="0.1"} 1
c_seconds_bucket{le="+Inf"} 3
c_seconds_sum 4
c_seconds_count 3
"#;

#[test]
fn a_good_page_is_read_without_complaint() {
    let page = Page::read(GOOD);
    assert_eq!(page.problems, Vec::<String>::new());
    let found = page.find("a_total", &[("id", "/x")]).next().unwrap();
    assert_eq!(found.labels["name"], "a\"b\\c\nd");
    assert_eq!((found.value, found.at), (1500.0, Some(1_700_000_000_123)));
    assert_eq!(page.samples.len(), 7);
    let families: Vec<_> = page.families().collect();
    assert_eq!(families[0], ("a_total", "counter", vec!["id", "name"]));
    assert_eq!(families.len(), 3);
}

#[test]
fn each_fault_is_named() {
    let head = "# HELP a_total x\n# TYPE a_total counter\n";
    let gauge = "# HELP b x\n# TYPE b gauge\n";
    for (text, problem) in [
        (format!("{head}a_total 1"), "no end"),
        (format!("{head}{head}a_total 1\n"), "a second HELP"),
        (format!("{head}a_total 1\n{head}"), "HELP after its series"),
        (format!("{head}a_total 1\n{gauge}b 1\na_total{{x=\"1\"}} 1\n"), "stand together"),
        (format!("{head}a_total 1\na_total 2\n"), "twice"),
        (format!("{head}a_total -1\n"), "below 0"),
        ("a_total 1\n".to_owned(), "without TYPE"),
        ("# TYPE b gauge\nb 1\n".to_owned(), "no HELP"),
        ("# HELP b x\n# TYPE b counter\nb 1\n".to_owned(), "a counter without _total"),
        ("# HELP b_total x\n# TYPE b_total gauge\n".to_owned(), "_total and no counter"),
        (format!("{gauge}b x\n"), "not a number"),
        (format!("{gauge}b 1 x\n"), "not a time"),
        (format!("{gauge}b{{x=\"1\"y=\"2\"}} 1\n"), "without a comma"),
        (format!("{gauge}b{{x=\"1\",x=\"2\"}} 1\n"), "given twice"),
        (format!("{gauge}b{{x=\"\\q\"}} 1\n"), "not an escape"),
        (format!("{gauge}b{{1x=\"\"}} 1\n"), "not a label name"),
        (format!("{gauge}b{{x=\"1\n"), "without an end"),
        (
            "# HELP c x\n# TYPE c histogram\nc_bucket{le=\"1\"} 1\nc_sum 1\nc_count 1\n".to_owned(),
            "not a whole histogram",
        ),
    ] {
        let problems = Page::read(&text).problems;
        assert!(problems.iter().any(|found| found.contains(problem)), "{text}: {problems:?}");
    }
}

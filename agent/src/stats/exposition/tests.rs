use expect_test::expect;

use super::*;

#[test]
fn series_of_a_family_stand_together_under_one_head() {
    let mut page = Exposition::default();
    page.family("b_total", Kind::Counter, "What \\ b\ncounts.");
    page.family("a", Kind::Gauge, "What a is.");
    page.family("unused", Kind::Gauge, "Nothing.");
    let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    page.sample("b_total", &[("id", "/"), ("name", "")], 1.5, Some(at));
    page.sample("a", &[], 12_345_678.0, None);
    page.sample("b_total", &[("id", "a\"b\\c\nd"), ("name", "x")], 0.0, Some(at));
    page.family("a", Kind::Counter, "Named again.");
    page.sample("a", &[("x", "1")], -1.0, None);
    expect![[r#"
        # HELP b_total What \\ b\ncounts.
        # TYPE b_total counter
        b_total{id="/",name=""} 1.5 1700000000123
        b_total{id="a\"b\\c\nd",name="x"} 0 1700000000123
        # HELP a What a is.
        # TYPE a gauge
        a 12345678
        a{x="1"} -1
    "#]]
    .assert_eq(&page.render());
}

#[test]
fn numbers_that_are_none_have_names() {
    for (value, text) in
        [(f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf"), (0.5, "0.5")]
    {
        assert_eq!(number(value), text);
    }
    assert!((seconds(1_500_000_000) - 1.5).abs() < f64::EPSILON);
}

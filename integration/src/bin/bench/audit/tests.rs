use super::count;

#[test]
fn watch_counts_once_and_half_a_line_not_at_all() {
    let log = r#"{"verb":"watch","stage":"ResponseStarted","objectRef":{"resource":"pods"}}
{"verb":"watch","stage":"ResponseComplete","objectRef":{"resource":"pods"}}
{"verb":"patch","stage":"ResponseComplete","objectRef":{"resource":"pods","subresource":"status"}}
{"verb":"get","stage":"ResponseComplete"}
{"verb":"get","sta"#;
    let counts: Vec<(String, u32)> = count(log).into_iter().collect();
    let expected = [("get other paths", 1), ("patch pods/status", 1), ("watch pods", 1)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
}

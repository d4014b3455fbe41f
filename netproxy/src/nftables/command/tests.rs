use super::*;

#[test]
fn complaint_quotes_the_input_it_is_about() {
    let input = "add table ip kube-proxy\nadd element ip kube-proxy nosuch { 1.2.3.4 }\n";
    let cases = [
        (
            "/dev/stdin:2:27-32: Error: No such file or directory\nadd element ...\n   ^^^^^\n",
            "No such file or directory (add element ip kube-proxy >>nosuch { 1.2.3.4 })",
        ),
        (
            "/dev/stdin:9:1-2: Error: Could not process rule: File exists",
            "/dev/stdin:9:1-2: Error: Could not process rule: File exists",
        ),
        (
            "netlink: Error: cache initialization failed",
            "netlink: Error: cache initialization failed",
        ),
        ("", ""),
    ];
    for (message, expected) in cases {
        assert_eq!(first_complaint(message, input), expected);
    }
    let long = format!("add element {{ {} }}", "1.2.3.4, ".repeat(10_000));
    let complaint = first_complaint("/dev/stdin:1:50000-50007: Error: File exists", &long);
    assert!(complaint.len() < 3 * QUOTED, "{complaint}");
}

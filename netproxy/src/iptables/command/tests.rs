use super::with_offending_line;

#[test]
fn offending_line_is_quoted() {
    let input = "*nat\n:KUBE-X - [0:0]\n-A KUBE-X -j NOPE\nCOMMIT\n";
    let cases = [
        ("iptables-restore: line 3 failed", "iptables-restore: line 3 failed (-A KUBE-X -j NOPE)"),
        ("Error occurred at line: 2", "Error occurred at line: 2 (:KUBE-X - [0:0])"),
        ("line 99 failed", "line 99 failed"),
        ("no idea", "no idea"),
    ];
    for (message, expected) in cases {
        assert_eq!(with_offending_line(message, input), expected);
    }
}

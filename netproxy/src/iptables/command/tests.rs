use super::offending_line;

#[test]
fn offending_line_is_found() {
    let input = "*nat\n:KUBE-X - [0:0]\n-A KUBE-X -j NOPE\nCOMMIT\n";
    let cases = [
        ("iptables-restore: line 3 failed", Some("-A KUBE-X -j NOPE")),
        ("Error occurred at line: 2", Some(":KUBE-X - [0:0]")),
        (
            "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (Too many links)",
            Some("-A KUBE-X -j NOPE"),
        ),
        ("line 99 failed", None),
        ("no idea", None),
    ];
    for (message, expected) in cases {
        assert_eq!(offending_line(message, input), expected, "{message}");
    }
}

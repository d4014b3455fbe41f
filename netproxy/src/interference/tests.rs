use super::*;

#[test]
fn writer_is_named_as_far_as_it_is_known() {
    let cases = [
        ("iptables", 12, "iptables (pid 12)"),
        ("", 12, "an unknown program (pid 12)"),
        ("nft", 0, "nft"),
        ("", 0, "an unknown program"),
    ];
    for (name, pid, expected) in cases {
        assert_eq!(Writer { name: name.to_owned(), pid }.to_string(), expected);
    }
}

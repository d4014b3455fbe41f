use super::cpus_in;

#[test]
fn lists_of_cpus_are_counted() {
    let cases = [
        ("0", Some(1)),
        ("0-3", Some(4)),
        ("0-3,8,10-11", Some(7)),
        ("", None),
        ("3-1", None),
        ("0-", None),
        ("all", None),
        ("0-18446744073709551615", None),
    ];
    for (list, count) in cases {
        assert_eq!(cpus_in(list), count, "{list:?}");
    }
}

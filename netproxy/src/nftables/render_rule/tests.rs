use super::*;

#[test]
fn times_are_written_as_nft_prints_them() {
    for (seconds, text) in
        [(0, "0s"), (1, "1s"), (60, "1m"), (10_800, "3h"), (86_400, "1d"), (93_784, "1d2h3m4s")]
    {
        assert_eq!(Span(seconds).to_string(), text);
    }
}

use proptest::prelude::*;

use super::*;

/// text | milli value | value | canonical text
const READINGS: [(&str, i64, i64, &str); 36] = [
    ("0", 0, 0, "0"),
    ("0Ki", 0, 0, "0"),
    ("1", 1000, 1, "1"),
    ("100m", 100, 1, "100m"),
    ("0.1", 100, 1, "100m"),
    (".5", 500, 1, "500m"),
    ("5.", 5000, 5, "5"),
    ("+2", 2000, 2, "2"),
    ("-1500m", -1500, -2, "-1500m"),
    ("1n", 1, 1, "1n"),
    ("1u", 1, 1, "1u"),
    ("0.1n", 1, 1, "1n"),
    ("1000u", 1, 1, "1m"),
    ("1001u", 2, 1, "1001u"),
    ("2000m", 2000, 2, "2"),
    ("1k", 1_000_000, 1000, "1k"),
    ("1500", 1_500_000, 1500, "1500"),
    ("1000000", 1_000_000_000, 1_000_000, "1M"),
    ("3G", 3_000_000_000_000, 3_000_000_000, "3G"),
    ("1T", 1_000_000_000_000_000, 1_000_000_000_000, "1T"),
    ("1P", 1_000_000_000_000_000_000, 1_000_000_000_000_000, "1P"),
    ("1E", i64::MAX, 1_000_000_000_000_000_000, "1E"),
    ("1e3", 1_000_000, 1000, "1e3"),
    ("1E3", 1_000_000, 1000, "1e3"),
    ("12e-1", 1200, 2, "1200e-3"),
    ("1e0", 1000, 1, "1"),
    ("1e-30", 1, 1, "1e-9"),
    ("1Ki", 1_024_000, 1024, "1Ki"),
    ("1.5Gi", 1_610_612_736_000, 1_610_612_736, "1536Mi"),
    ("1023Ki", 1_047_552_000, 1_047_552, "1023Ki"),
    ("0.5Ki", 512_000, 512, "512"),
    ("0.0001Ki", 103, 1, "102400u"),
    ("8Ei", i64::MAX, i64::MAX, "9223372036854775807"),
    ("99999999999999999999", i64::MAX, i64::MAX, "9223372036854775807"),
    ("1e400", i64::MAX, i64::MAX, "9223372036854775807"),
    (
        "0.3333333333333333333333333333333333333333Ei",
        i64::MAX,
        384_307_168_202_282_326,
        "384307168202282326",
    ),
];

#[test]
fn texts_are_read_and_printed_as_upstream_does() {
    for (text, milli, value, canonical) in READINGS {
        let quantity = Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(quantity.milli_value(), milli, "milli value of {text}");
        assert_eq!(quantity.value(), value, "value of {text}");
        assert_eq!(quantity.to_string(), canonical, "canonical text of {text}");
    }
}

#[test]
fn malformed_texts_are_refused() {
    for text in [
        "", "-", "+", ".", "Mi", "1.2.3", "1K", "1ki", "1 Gi", "1e", "1e+", "1ee3", "1Mib", "0x10",
        "--1",
    ] {
        assert!(Quantity::parse(text).is_err(), "{text:?} must be refused");
    }
}

#[test]
fn arithmetic_keeps_the_spelling_of_the_left_side() {
    let memory = Quantity::parse("8Gi").unwrap().minus(Quantity::parse("100M").unwrap());
    assert_eq!(memory.to_string(), "8489934592");
    assert_eq!(Quantity::ZERO.plus(Quantity::from_bytes(2048)).to_string(), "2Ki");
    assert_eq!(
        Quantity::from_milli(500).minus(Quantity::from_units(1)).not_below_zero(),
        Quantity::ZERO
    );
}

#[test]
fn amounts_compare_whatever_their_spelling() {
    assert_eq!(Quantity::parse("1024").unwrap(), Quantity::parse("1Ki").unwrap());
    assert!(Quantity::parse("1M").unwrap() < Quantity::parse("1Mi").unwrap());
}

proptest! {
    #[test]
    fn canonical_text_reads_back_as_the_same_amount(number in 0u64..u64::MAX >> 2, point in 0usize..6, suffix in 0usize..16) {
        let names = ["n", "u", "m", "", "k", "M", "G", "T", "Ki", "Mi", "Gi", "e1", "e-2", "e3", "E", "Ti"];
        let mut text = number.to_string();
        if point > 0 && point < text.len() {
            text.insert(text.len() - point, '.');
        }
        text.push_str(names[suffix]);
        let quantity = Quantity::parse(&text).unwrap();
        let again = Quantity::parse(&quantity.to_string()).unwrap();
        // A binary quantity prints whole units only.
        prop_assert_eq!(again.value(), quantity.value());
        // One that has no binary suffix reads as a decimal one, which may spell it otherwise.
        prop_assert_eq!(Quantity::parse(&again.to_string()).unwrap(), again);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
        let _ = Quantity::parse(&text);
    }

    #[test]
    fn milli_values_survive(milli in any::<i64>()) {
        prop_assert_eq!(Quantity::parse(&Quantity::from_milli(milli).to_string()).unwrap().milli_value(), milli);
    }
}

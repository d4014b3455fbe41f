use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

fn certificate(year: i32) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 7, 9);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

#[test]
fn end_of_a_certificate_is_read_in_both_forms_of_time() {
    for year in [2001, 2026, 2049, 2050, 2999] {
        let expected: Timestamp = format!("{year}-07-09T00:00:00Z").parse().unwrap();
        assert_eq!(not_after(&certificate(year)), Some(expected), "{year}");
    }
}

#[test]
fn what_is_no_certificate_has_no_end() {
    let whole = certificate(2030);
    for length in 0..whole.len() {
        assert_eq!(not_after(&whole[..length]), None, "{length}");
    }
    for (tag, text) in [
        (UTC_TIME, "261332000000Z"),
        (UTC_TIME, "2607090000Z"),
        (UTC_TIME, "260709000000"),
        (UTC_TIME, "+60709000000Z"),
        (GENERALIZED_TIME, "260709000000Z"),
        (SEQUENCE, "20260709000000Z"),
    ] {
        assert_eq!(time(tag, text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = not_after(&bytes);
    }
}

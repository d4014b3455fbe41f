use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

use super::*;

fn certificate(params: CertificateParams) -> Vec<u8> {
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn until(year: i32) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2001, 2, 3);
    params.not_after = date_time_ymd(year, 7, 9);
    certificate(params)
}

#[test]
fn validity_is_read_in_both_forms_of_time() {
    for year in [2001, 2026, 2049, 2050, 2999] {
        let facts = CertificateFacts::read(&until(year)).unwrap();
        assert_eq!(facts.not_before, "2001-02-03T00:00:00Z".parse().unwrap());
        let expected: Timestamp = format!("{year}-07-09T00:00:00Z").parse().unwrap();
        assert_eq!(facts.not_after, expected, "{year}");
    }
}

#[test]
fn subject_and_names_are_read() {
    let names = ["node-1", "10.0.0.1", "node-1.example", "fd00::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names.to_vec()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, "system:node:node-1");
    let facts = CertificateFacts::read(&certificate(params)).unwrap();
    assert_eq!(facts.common_name, "system:node:node-1");
    assert_eq!(facts.organizations.iter().collect::<Vec<_>>(), ["system:nodes"]);
    assert_eq!(facts.dns_names.iter().collect::<Vec<_>>(), ["node-1", "node-1.example"]);
    let ips: BTreeSet<IpAddr> =
        ["10.0.0.1", "fd00::1"].iter().map(|ip| ip.parse().unwrap()).collect();
    assert_eq!(facts.ips, ips);
}

#[test]
fn certificate_may_name_nobody() {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let facts = CertificateFacts::read(&certificate(params)).unwrap();
    assert_eq!(facts.common_name, "");
    assert!(facts.organizations.is_empty() && facts.dns_names.is_empty() && facts.ips.is_empty());
}

#[test]
fn what_is_no_certificate_says_nothing() {
    let whole = until(2030);
    for length in 0..whole.len() {
        assert_eq!(CertificateFacts::read(&whole[..length]), None, "{length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        position in 0_usize..200,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = CertificateFacts::read(&bytes);
        let mut near = until(2030);
        for (byte, wrong) in near.iter_mut().skip(position).zip(bytes) {
            *byte = wrong;
        }
        let _ = CertificateFacts::read(&near);
    }
}

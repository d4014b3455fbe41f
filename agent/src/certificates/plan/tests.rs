use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::NodeAddress;
use proptest::prelude::*;

use super::*;

/// The time so many seconds after an arbitrary beginning.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

/// A certificate of node-1 that is valid from `from` to `to`.
fn certificate(from: i64, to: i64) -> CertificateFacts {
    CertificateFacts {
        not_before: at(from),
        not_after: at(to),
        common_name: "system:node:node-1".to_owned(),
        organizations: BTreeSet::from(["system:nodes".to_owned()]),
        dns_names: BTreeSet::new(),
        ips: BTreeSet::new(),
    }
}

fn client() -> Wanted {
    Wanted::client("node-1")
}

/// Kinds and texts.
type Addresses<'a> = &'a [(&'a str, &'a str)];

fn serving(addresses: Addresses<'_>) -> Option<Wanted> {
    let addresses: Vec<NodeAddress> = addresses
        .iter()
        .map(|(kind, text)| NodeAddress { type_: (*kind).to_owned(), address: (*text).to_owned() })
        .collect();
    Wanted::serving("node-1", &addresses)
}

fn situation<'a>(current: Option<&'a CertificateFacts>, wanted: &'a Wanted) -> Situation<'a> {
    Situation {
        current,
        wanted: Some(wanted),
        obtained: None,
        lost_since: None,
        jitter: 0.5,
        retry_at: None,
        started: at(-1_000_000),
        hopeless: false,
    }
}

#[test]
fn certificate_is_replaced_between_seventy_and_ninety_percent_of_its_life() {
    let (current, wanted) = (certificate(0, 1000), client());
    for (jitter, due) in [(0.0, 700), (0.5, 800), (1.0, 900)] {
        let situation = Situation { jitter, ..situation(Some(&current), &wanted) };
        assert_eq!(plan(&situation, at(10)), Step::Wait(Some(at(due))));
        assert_eq!(plan(&situation, at(due)), Step::Ask(Why::Due));
        assert_eq!(plan(&situation, at(1000)), Step::Ask(Why::Ended));
    }
}

#[test]
fn missing_certificate_is_asked_for_at_once() {
    assert_eq!(plan(&situation(None, &client()), at(0)), Step::Ask(Why::Missing));
}

#[test]
fn nothing_is_asked_before_the_node_has_an_address() {
    assert_eq!(serving(&[]), None);
    assert_eq!(serving(&[("Hostname", "node-1"), ("InternalDNS", "node-1.example")]), None);
    let wanted = client();
    let unknown = Situation { wanted: None, ..situation(None, &wanted) };
    assert_eq!(plan(&unknown, at(0)), Step::Wait(None));
}

#[test]
fn changed_addresses_are_asked_for_at_once_and_fewer_are_not() {
    let mut current = certificate(0, 1000);
    current.dns_names = BTreeSet::from(["node-1".to_owned()]);
    current.ips = BTreeSet::from(["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]);
    let table: [(Addresses<'_>, Option<Step>); 6] = [
        (&[("Hostname", "node-1"), ("InternalIP", "10.0.0.1"), ("InternalIP", "fd00::1")], None),
        // Fewer names need no new certificate.
        (&[("InternalIP", "10.0.0.1")], None),
        (&[("InternalIP", "10.0.0.2")], Some(Step::Ask(Why::Names))),
        (&[("InternalIP", "10.0.0.1"), ("ExternalIP", "1.2.3.4")], Some(Step::Ask(Why::Names))),
        (&[("InternalIP", "10.0.0.1"), ("ExternalDNS", "n.io")], Some(Step::Ask(Why::Names))),
        // A host name may be an address.
        (&[("Hostname", "10.0.0.1")], None),
    ];
    for (addresses, expected) in table {
        let wanted = serving(addresses).unwrap();
        let step = plan(&situation(Some(&current), &wanted), at(1));
        assert_eq!(step, expected.unwrap_or(Step::Wait(Some(at(800)))), "{addresses:?}");
    }
}

#[test]
fn certificate_of_another_node_or_of_no_node_is_replaced() {
    let wanted = client();
    let mut other = certificate(0, 1000);
    other.common_name = "system:node:node-2".to_owned();
    let mut groupless = certificate(0, 1000);
    groupless.organizations.clear();
    for current in [&other, &groupless] {
        assert_eq!(plan(&situation(Some(current), &wanted), at(1)), Step::Ask(Why::Names));
    }
}

#[test]
fn certificate_without_a_file_is_replaced_unless_the_file_comes_back_soon() {
    let (current, wanted) = (certificate(0, 1000), client());
    let lost = Situation { lost_since: Some(at(5)), ..situation(Some(&current), &wanted) };
    assert_eq!(plan(&lost, at(5)), Step::Wait(Some(at(15))));
    assert_eq!(plan(&lost, at(15)), Step::Ask(Why::Lost));
    let late = Situation { lost_since: Some(at(795)), ..lost };
    assert_eq!(plan(&late, at(800)), Step::Ask(Why::Due));
}

#[test]
fn everything_waits_for_the_back_off() {
    let (current, wanted) = (certificate(0, 1000), client());
    let after = |situation| Situation { retry_at: Some(at(950)), ..situation };
    for current in [None, Some(&current)] {
        let situation = after(situation(current, &wanted));
        assert_eq!(plan(&situation, at(920)), Step::Wait(Some(at(950))));
        assert!(matches!(plan(&situation, at(950)), Step::Ask(_)));
    }
    // A failure does not bring anything forward.
    let early = after(situation(Some(&current), &wanted));
    let early = Situation { retry_at: Some(at(20)), ..early };
    assert_eq!(plan(&early, at(20)), Step::Wait(Some(at(800))));
}

#[test]
fn pauses_double_up_to_half_a_minute() {
    let pauses: Vec<u64> = (1..9).map(|failures| pause_after(failures, 0.0).as_secs()).collect();
    assert_eq!(pauses, [2, 4, 8, 16, 32, 32, 32, 32]);
    assert_eq!(pause_after(u32::MAX, 1.0), Duration::from_millis(35_200));
}

#[test]
fn ended_credential_ends_the_daemon_after_five_minutes_if_the_server_refuses() {
    let (current, wanted) = (certificate(0, 1000), client());
    let hopeless = Situation { hopeless: true, ..situation(Some(&current), &wanted) };
    assert_eq!(plan(&hopeless, at(1299)), Step::Ask(Why::Ended));
    assert_eq!(plan(&hopeless, at(1300)), Step::GiveUp(at(1000)));
    let begun_late = Situation { started: at(2000), ..hopeless.clone() };
    assert_eq!(plan(&begun_late, at(2299)), Step::Ask(Why::Ended));
    assert_eq!(plan(&begun_late, at(2300)), Step::GiveUp(at(1000)));
    // A server that is away may be back with the next try.
    let away = Situation { hopeless: false, ..hopeless.clone() };
    assert_eq!(plan(&away, at(99_999)), Step::Ask(Why::Ended));
    // A refusal while the certificate is good is about something else.
    assert_eq!(plan(&hopeless, at(900)), Step::Ask(Why::Due));
}

#[test]
fn backdated_certificate_of_a_minute_is_used_for_half_of_it() {
    // As kube-controller-manager signs with --cluster-signing-duration=1m.
    let (current, wanted) = (certificate(-300, 60), client());
    for jitter in [0.0, 0.5] {
        let fresh =
            Situation { obtained: Some(at(1)), jitter, ..situation(Some(&current), &wanted) };
        let Step::Wait(Some(due)) = plan(&fresh, at(1)) else { panic!("asks at once") };
        assert_eq!(due.as_second(), at(30).as_second());
    }
    // Found at a start, nothing tells how long it was used.
    assert_eq!(plan(&situation(Some(&current), &wanted), at(1)), Step::Ask(Why::Due));
}

#[test]
fn certificate_that_is_not_valid_yet_is_used_like_any_other() {
    // The signer's clock is an hour ahead; it is the API server's that counts.
    let (current, wanted) = (certificate(3600, 4600), client());
    let fresh = Situation { obtained: Some(at(0)), ..situation(Some(&current), &wanted) };
    assert_eq!(plan(&fresh, at(0)), Step::Wait(Some(at(4400))));
}

#[test]
fn certificate_that_has_ended_on_arrival_is_not_replaced_without_pause() {
    // This node's clock is an hour ahead.
    let (current, wanted) = (certificate(-4600, -3600), client());
    let fresh = Situation { obtained: Some(at(0)), ..situation(Some(&current), &wanted) };
    assert_eq!(plan(&fresh, at(0)), Step::Wait(Some(at(300))));
    assert_eq!(plan(&fresh, at(300)), Step::Ask(Why::Ended));
}

proptest! {
    #[test]
    fn no_certificate_is_replaced_before_seventy_or_long_after_ninety_percent(
        life in 3600_i64..400_000_000,
        jitter in 0.0..1.0_f64,
        age in 0_i64..600,
    ) {
        let (current, wanted) = (certificate(0, life), client());
        let fresh = Situation {
            obtained: Some(at(age)), jitter, ..situation(Some(&current), &wanted)
        };
        let Step::Wait(Some(due)) = plan(&fresh, at(age)) else { panic!("asks at once") };
        let share = due.duration_since(at(0)).as_secs_f64() / life as f64;
        prop_assert!((0.69..0.91).contains(&share), "{share}");
    }

    #[test]
    fn whatever_the_clocks_say_two_requests_are_ten_seconds_apart(
        from in -100_000_i64..100_000,
        life in -10_i64..100_000,
        jitter in 0.0..1.0_f64,
    ) {
        let (current, wanted) = (certificate(from, from + life), client());
        let fresh = Situation {
            obtained: Some(at(0)), jitter, ..situation(Some(&current), &wanted)
        };
        let Step::Wait(Some(next)) = plan(&fresh, at(0)) else { panic!("asks at once") };
        prop_assert!(next >= at(10), "{next}");
    }
}

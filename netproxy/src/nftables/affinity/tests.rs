use super::*;
use crate::input::{ObjectKey, Protocol};

fn name(number: usize) -> Arc<ServicePortName> {
    let service = ObjectKey::new("a", format!("s{number}"));
    Arc::new(ServicePortName { service, port: "p80".into(), protocol: Protocol::Tcp })
}

fn sockets(range: std::ops::Range<u32>) -> Vec<SocketAddr> {
    range.map(|n| SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 80))).collect()
}

#[test]
fn numbers_stay_while_others_come_and_go() {
    let mut classes = Classes::default();
    let first = classes.assign(&name(1), sockets(0..3).into_iter()).unwrap().clone();
    classes.assign(&name(2), sockets(0..3).into_iter());
    let more = classes.assign(&name(1), sockets(1..9).into_iter()).unwrap().clone();
    classes.release(&name(2));
    assert_eq!(more.class, first.class);
    let [gone, kept] = [sockets(0..1)[0], sockets(1..2)[0]];
    assert_eq!(more.endpoint(kept), first.endpoint(kept));
    assert_eq!(more.endpoint(gone), None);

    // A new start gives the same numbers.
    let again = Classes::default().assign(&name(1), sockets(1..9).into_iter()).unwrap().clone();
    assert_eq!(again, more);
}

#[test]
fn numbers_are_unique_and_marked_as_ours() {
    let mut classes = Classes::default();
    let mut services = BTreeSet::new();
    for number in 0..2000 {
        let class = classes.assign(&name(number), std::iter::empty()).unwrap().class;
        assert!((0x8000..0xffff).contains(&class.service) && class.endpoint == 0, "{class}");
        assert!(services.insert(class.service));
    }
    let many = sockets(0..20_000);
    let found = classes.assign(&name(1), many.iter().copied()).unwrap();
    let endpoints: BTreeSet<u16> =
        many.iter().map(|address| found.endpoint(*address).unwrap().endpoint).collect();
    assert_eq!(endpoints.len(), many.len());
    assert!(!endpoints.contains(&0) && !endpoints.contains(&0xffff));
}

#[test]
fn numbers_run_out_without_harm() {
    assert_eq!(free(5, 4, |n| n != 3), Some(3));
    assert_eq!(free(5, 4, |_| true), None);
    let mut classes = Classes { taken: (0..SERVICES).collect(), ..Classes::default() };
    assert_eq!(classes.assign(&name(1), std::iter::empty()), None);
    classes.taken.remove(&7);
    assert_eq!(classes.assign(&name(1), std::iter::empty()).unwrap().class.service, 0x8007);
    classes.release(&name(1));
    assert!(classes.assign(&name(2), std::iter::empty()).is_some());
}

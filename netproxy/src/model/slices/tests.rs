use super::{endpoints, service_of, unreadable};
use crate::config::IpFamily;
use crate::input::{AddressType, EndpointSlice, ObjectKey, Parsed, Protocol, SliceEndpoint};
use crate::model::endpoint::EndpointState;
use crate::model::service_port::ServicePortName;
use crate::testing::build::LOCAL_NODE;
use crate::testing::{SliceBuilder, slice};

fn http() -> SliceBuilder {
    slice("a/web").port("http", Protocol::Tcp, 80)
}

fn found(slices: &[SliceBuilder], port: &str) -> Vec<String> {
    let slices: Vec<EndpointSlice> = slices.iter().map(|slice| slice.clone().build()).collect();
    let name = ServicePortName {
        service: ObjectKey::new("a", "web"),
        port: port.into(),
        protocol: Protocol::Tcp,
    };
    endpoints(&slices, &name, IpFamily::V4, LOCAL_NODE)
        .iter()
        .map(|endpoint| {
            let place = if endpoint.is_local { "local" } else { "remote" };
            format!("{} {place} {:?}", endpoint.text(), endpoint.state)
        })
        .collect()
}

#[test]
fn endpoints_are_sorted_as_text() {
    let slice = http().endpoint("10.0.0.2").endpoint("10.0.0.1").endpoint("10.0.0.10");
    assert_eq!(
        found(&[slice], "http"),
        ["10.0.0.10:80 remote Ready", "10.0.0.1:80 remote Ready", "10.0.0.2:80 remote Ready"]
    );
}

#[test]
fn duplicates_collapse_to_the_local_and_better_one_in_any_order() {
    let remote = http().named("1").endpoint("10.0.0.1");
    let draining = http().named("2").local("10.0.0.1").conditions(false, true, true);
    let local = http().named("3").local("10.0.0.1");
    let expected = ["10.0.0.1:80 local Ready"];
    assert_eq!(found(&[remote.clone(), draining.clone(), local.clone()], "http"), expected);
    assert_eq!(found(&[local, draining, remote], "http"), expected);
}

#[test]
fn only_the_port_of_that_name_and_protocol_counts() {
    let slice = slice("a/web")
        .port("http", Protocol::Tcp, 80)
        .port("http", Protocol::Udp, 81)
        .port("other", Protocol::Tcp, 82)
        .port("", Protocol::Tcp, 83)
        .port("http", Protocol::Tcp, 0)
        .endpoint("10.0.0.1");
    assert_eq!(found(std::slice::from_ref(&slice), "http"), ["10.0.0.1:80 remote Ready"]);
    assert_eq!(found(std::slice::from_ref(&slice), ""), ["10.0.0.1:83 remote Ready"]);
    let unnamed = slice.with(|slice| slice.ports[3].name = None);
    assert_eq!(found(&[unnamed], ""), [""; 0]);
}

#[test]
fn conditions_decide_the_state() {
    let cases = [
        ((true, true, false), EndpointState::Ready),
        ((true, true, true), EndpointState::Ready),
        ((false, true, true), EndpointState::Draining),
        ((false, true, false), EndpointState::Serving),
        ((false, false, true), EndpointState::Down),
    ];
    for ((ready, serving, terminating), state) in cases {
        let slice = http().endpoint("10.0.0.1").conditions(ready, serving, terminating);
        assert_eq!(found(&[slice], "http"), [format!("10.0.0.1:80 remote {state:?}")]);
    }
    assert_eq!(found(&[http().endpoint("10.0.0.1")], "http"), ["10.0.0.1:80 remote Ready"]);
}

#[test]
fn bad_address_hides_only_itself_and_is_told() {
    let slice = http().endpoint("10.0.0.1").with(|slice| {
        let bad = |address| SliceEndpoint { address, ..SliceEndpoint::default() };
        slice.endpoints.push(bad(Some(Parsed::Invalid("pod-1".into()))));
        slice.endpoints.push(bad(Some(Parsed::Valid("fd00::1".parse().unwrap()))));
        slice.endpoints.push(bad(None));
    });
    assert_eq!(found(std::slice::from_ref(&slice), "http"), ["10.0.0.1:80 remote Ready"]);
    let told: Vec<_> = unreadable(&slice.build()).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["pod-1", "fd00::1"]);
}

#[test]
fn slices_of_nobody_or_of_others_are_skipped() {
    let label = |name: &'static str| {
        http().with(move |slice| {
            slice.metadata.labels.insert(name.into(), "x".into());
        })
    };
    assert_eq!(service_of(&http().build()), Some(ObjectKey::new("a", "web")));
    let skipped = [
        http().with(|slice| slice.metadata.labels.clear()),
        http().with(|slice| slice.address_type = AddressType::Other),
        label("service.kubernetes.io/headless"),
    ];
    for slice in skipped {
        assert_eq!(service_of(&slice.build()), None);
    }
    // The service says who proxies it.
    assert!(service_of(&label("service.kubernetes.io/service-proxy-name").build()).is_some());
}

#[test]
fn addresses_of_the_machine_itself_are_no_endpoints() {
    let bad = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"];
    let slice = bad.iter().fold(http().endpoint("10.0.0.1"), |slice, text| slice.endpoint(text));
    assert_eq!(found(std::slice::from_ref(&slice), "http"), ["10.0.0.1:80 remote Ready"]);
    assert_eq!(unreadable(&slice.build()).iter().map(|text| &**text).collect::<Vec<_>>(), bad);
    for bad in ["::1", "fe80::1", "::", "ff02::1", "::ffff:127.0.0.1"] {
        let slice = slice_v6(bad);
        assert_eq!(unreadable(&slice).len(), 1, "{bad}");
    }
}

fn slice_v6(address: &str) -> EndpointSlice {
    let valid = Some(Parsed::Valid(address.parse().unwrap()));
    http().endpoint("fd00::1").with(|slice| slice.endpoints[0].address = valid).build()
}

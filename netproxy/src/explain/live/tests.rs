use super::*;
use crate::testing::{FakeIptables, FakeMachine};

fn sources(families: &[IpFamily]) -> (Sources, Vec<Arc<FakeIptables>>) {
    let fakes: Vec<Arc<FakeIptables>> =
        families.iter().map(|family| FakeIptables::new(*family)).collect();
    let iptables = families
        .iter()
        .zip(&fakes)
        .map(|(family, fake)| {
            (*family, RuleSource::Iptables(Arc::clone(fake) as Arc<dyn Iptables>))
        })
        .collect();
    let machine = FakeMachine::new(&["192.0.2.1"]);
    let kind = BackendKind::Iptables;
    (Sources { kind, rules: iptables, machine, counters: None }, fakes)
}

#[test]
fn only_chains_that_drop_are_kept() {
    let text =
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [3:4]\n:X - [0:0]\n*raw\n:OUTPUT DROP [0:0]\n";
    let dropping = Policies::of_saved(text).dropping;
    assert_eq!(dropping, [ChainKey::new(Table::Filter, "FORWARD")].into());
}

#[tokio::test]
async fn family_that_cannot_be_read_is_left_out_while_another_can() {
    let (sources, fakes) = sources(&[IpFamily::V4, IpFamily::V6]);
    fakes[1].fail_next("save");
    let kernel = Kernel::read(&sources).await;
    assert_eq!(kernel.usable().map(|(family, _)| family).collect::<Vec<_>>(), [IpFamily::V4]);
    assert!(kernel.failure().is_none());
    assert!(kernel.live(IpFamily::V6).is_none());
}

#[tokio::test]
async fn failure_of_every_family_is_told() {
    let (sources, fakes) = sources(&[IpFamily::V4]);
    fakes[0].fail_next("save");
    let kernel = Kernel::read(&sources).await;
    assert!(kernel.failure().is_some());
}

#[tokio::test]
async fn only_connections_from_source_to_destination_are_told() {
    let conntrack = crate::testing::FakeConntrack::new();
    let flow = |source: &str, destination: &str| Flow {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        answered_by: "10.1.0.2:53".parse().unwrap(),
    };
    for (source, destination) in [
        ("10.1.0.9:4001", "10.96.0.10:53"),
        ("10.1.0.9:4000", "10.96.0.10:53"),
        ("10.1.0.8:4000", "10.96.0.10:53"),
        ("10.1.0.9:4000", "10.96.0.10:54"),
    ] {
        conntrack.add(flow(source, destination));
    }
    let mut question = Question {
        source: "10.1.0.9".parse().unwrap(),
        destination: "10.96.0.10:53".parse().unwrap(),
        protocol: crate::input::Protocol::Udp,
        interface: None,
        local_addresses: &[],
    };
    let found = connections(&*conntrack, &question).await.unwrap();
    let ports: Vec<u16> = found.iter().map(|known| known.source.port()).collect();
    assert_eq!(ports, [4000, 4001]);
    question.protocol = crate::input::Protocol::Tcp;
    assert_eq!(connections(&*conntrack, &question).await.unwrap(), []);
    conntrack.fail_next_dump();
    question.protocol = crate::input::Protocol::Udp;
    assert!(connections(&*conntrack, &question).await.is_err());
}

use std::net::IpAddr;
use std::sync::Arc;

use super::NodeAddresses;
use crate::config::{NodePortAddresses, ProxyConfig};
use crate::testing::FakeMachine;

fn within(networks: &[&str], machine: &Arc<FakeMachine>) -> NodeAddresses {
    let mut config = ProxyConfig::new("node-1");
    let networks = networks.iter().map(|net| net.parse().unwrap()).collect();
    config.node_port_addresses = NodePortAddresses::Within(networks);
    NodeAddresses::start(&config, machine.clone())
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Whether a change is told without any wait.
async fn told(addresses: &mut NodeAddresses) -> bool {
    tokio::select! {
        biased;
        () = addresses.changed() => true,
        () = tokio::task::yield_now() => false,
    }
}

#[tokio::test]
async fn only_changes_of_matching_addresses_are_told() {
    let machine = FakeMachine::new(&["192.168.0.2", "10.0.0.1"]);
    let mut addresses = within(&["192.168.0.0/24", "2001:db8::/64"], &machine);
    assert_eq!(addresses.current(), ips(&["192.168.0.2"]));
    machine.set_addresses(&["192.168.0.2", "10.0.0.5"]);
    assert!(!told(&mut addresses).await, "somebody else's address");
    machine.set_addresses(&["2001:db8::7", "192.168.0.9", "192.168.0.2"]);
    assert!(told(&mut addresses).await);
    assert_eq!(addresses.current(), ips(&["192.168.0.2", "192.168.0.9", "2001:db8::7"]));
    machine.set_addresses(&[]);
    assert!(told(&mut addresses).await);
    assert!(addresses.current().is_empty());
}

#[tokio::test]
async fn a_look_for_one_family_hides_no_change_from_the_other() {
    let machine = FakeMachine::new(&["192.168.0.2"]);
    let mut addresses = within(&["192.168.0.0/24"], &machine);
    machine.set_addresses(&[]);
    addresses.current();
    assert!(told(&mut addresses).await);
    assert!(addresses.current().is_empty());
}

#[tokio::test]
async fn without_networks_nothing_is_watched() {
    let machine = FakeMachine::new(&["192.168.0.2"]);
    let mut addresses = NodeAddresses::start(&ProxyConfig::new("node-1"), machine.clone());
    machine.set_addresses(&["192.168.0.3"]);
    assert!(!told(&mut addresses).await);
    assert!(addresses.current().is_empty());
}

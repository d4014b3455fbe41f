use std::time::Duration;

use super::{ConfigProblem, IpFamily, LocalTraffic, ProxyConfig};

#[test]
fn defaults_have_no_problems() {
    assert_eq!(ProxyConfig::new("node-1").problems(), []);
}

#[test]
fn all_problems_are_reported_together() {
    let mut config = ProxyConfig::new("");
    config.masquerade_bit = 32;
    config.min_sync_period = Duration::from_secs(31);
    config.node_ips = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
    config.local_traffic = LocalTraffic::ClusterCidrs(vec![
        "fd00::/64".parse().unwrap(),
        "10.0.0.0/8".parse().unwrap(),
        "fd01::/64".parse().unwrap(),
    ]);
    assert_eq!(
        config.problems(),
        [
            ConfigProblem::NoNodeName,
            ConfigProblem::MasqueradeBit(32),
            ConfigProblem::SyncPeriods {
                min: Duration::from_secs(31),
                max: Duration::from_secs(30)
            },
            ConfigProblem::NodeIps(IpFamily::V4),
            ConfigProblem::ClusterCidrs(IpFamily::V6),
        ]
    );
}

#[test]
fn interface_names_that_would_break_a_rule_are_refused() {
    for name in ["", "a name", "much-too-long-for-linux", "a\"b"] {
        let mut config = ProxyConfig::new("node-1");
        config.local_traffic = LocalTraffic::Bridge(name.into());
        assert_eq!(config.problems(), [ConfigProblem::Interface(name.into())]);
    }
}

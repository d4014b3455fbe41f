use proptest::prelude::*;
use tokio::time::{Duration, Instant};

use super::FamilyProxy;
use crate::config::{IpFamily, ProxyConfig};
use crate::model::changes::ServiceMap;
use crate::pacing::Pacer;
use crate::rules::context::MachineFacts;
use crate::rules::{RuleContext, RuleSet};
use crate::testing::build::LOCAL_NODE;
use crate::testing::random::any_changes;
use crate::testing::{FakeIptables, node};

fn proxy(family: IpFamily) -> FamilyProxy {
    let pacer = Pacer::new(Duration::ZERO, Duration::ZERO);
    FamilyProxy::new(family, FakeIptables::new(family), pacer)
}

fn planned(proxy: &mut FamilyProxy, map: &mut ServiceMap) -> RuleSet {
    proxy.mark(&map.take_dirty(), Instant::now());
    let config = ProxyConfig::new(LOCAL_NODE);
    let machine =
        MachineFacts { local_addresses: &[], random_fully: true, liberal_conntrack: false };
    let node = node(&["192.168.0.2", "2001:db8::1"]);
    let context = RuleContext::new(&config, proxy.family, &node, machine);
    proxy.plan(map, context)
}

proptest! {
    #[test]
    fn planning_step_by_step_ends_where_planning_at_once_does(changes in any_changes()) {
        for family in [IpFamily::V4, IpFamily::V6] {
            let (mut map, mut steps) = (ServiceMap::default(), proxy(family));
            let mut last = planned(&mut steps, &mut map);
            for change in &changes {
                map.apply(change.clone());
                last = planned(&mut steps, &mut map);
            }
            let mut at_once = proxy(family);
            prop_assert_eq!(last, planned(&mut at_once, &mut map));
            prop_assert_eq!(steps.counts(), at_once.counts());
        }
    }
}

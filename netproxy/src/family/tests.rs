use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::time::{Duration, Instant};

use super::FamilyProxy;
use crate::config::{IpFamily, ProxyConfig};
use crate::input::ObjectKey;
use crate::model::changes::ServiceMap;
use crate::model::port_facts::PortFacts;
use crate::pacing::Pacer;
use crate::rules::RuleContext;
use crate::rules::context::MachineFacts;
use crate::testing::build::LOCAL_NODE;
use crate::testing::random::any_changes;
use crate::testing::{RecordingBackend, node};

type Planned = BTreeMap<ObjectKey, Vec<PortFacts>>;

fn proxy(family: IpFamily) -> (FamilyProxy, Arc<Mutex<Planned>>) {
    let pacer = Pacer::new(Duration::ZERO, Duration::ZERO);
    let backend = RecordingBackend::default();
    let planned = Arc::clone(&backend.planned);
    (FamilyProxy::new(family, Box::new(backend), pacer), planned)
}

fn plan(proxy: &mut FamilyProxy, map: &mut ServiceMap) {
    proxy.mark(&map.take_dirty(), Instant::now());
    let config = ProxyConfig::new(LOCAL_NODE);
    let machine =
        MachineFacts { local_addresses: &[], random_fully: true, liberal_conntrack: false };
    let node = node(&["192.168.0.2", "2001:db8::1"]);
    let context = RuleContext::new(&config, proxy.family, &node, machine);
    proxy.plan(map, context);
}

proptest! {
    #[test]
    fn planning_step_by_step_ends_where_planning_at_once_does(changes in any_changes()) {
        for family in [IpFamily::V4, IpFamily::V6] {
            let (mut map, (mut steps, by_steps)) = (ServiceMap::default(), proxy(family));
            plan(&mut steps, &mut map);
            for change in &changes {
                map.apply(change.clone());
                plan(&mut steps, &mut map);
            }
            let (mut at_once, by_all) = proxy(family);
            plan(&mut at_once, &mut map);
            prop_assert_eq!(&*by_steps.lock().unwrap(), &*by_all.lock().unwrap());
            prop_assert_eq!(steps.counts(), at_once.counts());
        }
    }
}

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, advance};

use super::ServiceHealth;
use crate::config::IpFamily;
use crate::events::{ProxyEvent, ServiceRef};
use crate::health::HealthPort;
use crate::input::ObjectKey;
use crate::rules::context::NodePortDestinations;
use crate::status::ProxyStatus;
use crate::testing::{FakeEvents, FakePorts};

struct World {
    ports: FakePorts,
    events: FakeEvents,
    publish: watch::Sender<ProxyStatus>,
    health: ServiceHealth,
}

impl World {
    fn new() -> Self {
        let (ports, events) = (FakePorts::new(), FakeEvents::new());
        let (publish, status) = watch::channel(ProxyStatus::default());
        let timeout = Duration::from_secs(60);
        let (open, tell) = (Arc::new(ports.clone()), Arc::new(events.clone()));
        Self { ports, events, publish, health: ServiceHealth::new(open, tell, status, timeout) }
    }

    fn apply(&mut self, wanted: &[(&str, u16, usize)]) {
        let wanted: BTreeMap<_, _> = wanted
            .iter()
            .map(|(name, port, local_endpoints)| {
                let entry =
                    HealthPort { port: *port, uid: "u1".into(), local_endpoints: *local_endpoints };
                (ObjectKey::new("a", *name), entry)
            })
            .collect();
        self.health.apply(IpFamily::V4, &NodePortDestinations::All, &wanted);
    }

    async fn answer(&self, port: u16) -> (u16, String, String) {
        let reply = self.ports.ask(&format!("0.0.0.0:{port}"), "/").await;
        let [(name, weight)] = &reply.headers[..] else { panic!("{reply:?}") };
        assert_eq!(*name, "x-load-balancing-endpoint-weight");
        let body = String::from_utf8(reply.body.to_vec()).unwrap();
        (reply.status.as_u16(), weight.clone(), body)
    }
}

#[tokio::test(start_paused = true)]
async fn answer_tells_local_endpoints_and_the_health_of_the_proxy() {
    let mut world = World::new();
    world.apply(&[("web", 30000, 2), ("idle", 30001, 0)]);
    let body = |name: &str, count: usize, healthy: bool| {
        format!(
            r#"{{"localEndpoints":{count},"service":{{"name":"{name}","namespace":"a"}},"serviceProxyHealthy":{healthy}}}"#
        )
    };
    assert_eq!(world.answer(30000).await, (200, "2".into(), body("web", 2, true)));
    assert_eq!(world.answer(30001).await, (503, "0".into(), body("idle", 0, true)));
    world.apply(&[("web", 30000, 0), ("idle", 30001, 1)]);
    assert_eq!(world.answer(30000).await.0, 503);
    assert_eq!(world.answer(30001).await.0, 200);
    assert_eq!(world.ports.tries(), 2, "ports stay open when counts change");

    world.publish.send_modify(|status| {
        let family = status.families.entry(IpFamily::V6).or_default();
        family.queued_since = Some(Instant::now());
    });
    advance(Duration::from_secs(60)).await;
    assert_eq!(world.answer(30001).await, (503, "1".into(), body("idle", 1, false)));
}

#[tokio::test(start_paused = true)]
async fn port_closes_with_its_service_and_can_be_taken_by_another() {
    let mut world = World::new();
    world.apply(&[("web", 30000, 1)]);
    world.apply(&[("other", 30000, 1)]);
    assert_eq!(world.ports.open_ports(), ["0.0.0.0:30000"]);
    assert!(world.answer(30000).await.2.contains("other"));
    world.apply(&[]);
    assert!(world.ports.open_ports().is_empty());
    assert!(world.events.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn port_that_is_taken_is_told_once_and_tried_again() {
    let mut world = World::new();
    for _ in 0..2 {
        world.ports.fail_next(io::ErrorKind::AddrInUse);
        world.apply(&[("web", 30000, 1)]);
    }
    let service = ServiceRef { key: ObjectKey::new("a", "web"), uid: "u1".into() };
    let events = world.events.take();
    let [ProxyEvent::ServiceHealthServerFailed { service: told, address, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((told, address.to_string()), (&service, "0.0.0.0:30000".to_owned()));
    world.apply(&[("web", 30000, 1)]);
    assert_eq!(world.answer(30000).await.0, 200);
    world.apply(&[]);
    world.ports.fail_next(io::ErrorKind::AddrInUse);
    world.apply(&[("web", 30000, 1)]);
    assert_eq!(world.events.take().len(), 1, "trouble that was over is told anew");
}

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{ServerKind, keep_open};
use crate::config::BindFailures;
use crate::events::ProxyEvent;
use crate::http::{Access, Reply, RouteTable};
use crate::testing::{FakeEvents, FakePorts};

const ADDRESS: &str = "127.0.0.1:10249";

fn server() -> (std::net::SocketAddr, RouteTable) {
    let table = RouteTable::new().with("/healthz", Access::Open, || Reply::text("ok"));
    (ADDRESS.parse().unwrap(), table)
}

#[tokio::test(start_paused = true)]
async fn port_that_is_taken_is_told_once_and_tried_every_five_seconds() {
    let (ports, events) = (FakePorts::new(), FakeEvents::new());
    for _ in 0..3 {
        ports.fail_next(io::ErrorKind::AddrInUse);
    }
    let task = {
        let (ports, events) = (ports.clone(), events.clone());
        tokio::spawn(async move {
            let kind = ServerKind::Metrics;
            keep_open(kind, server(), &ports, &events, BindFailures::Retry).await
        })
    };
    sleep(Duration::from_millis(14_900)).await;
    assert_eq!((ports.tries(), ports.open_ports().len()), (3, 0));
    sleep(Duration::from_millis(200)).await;
    assert_eq!(ports.open_ports(), [ADDRESS]);
    assert_eq!(&*ports.ask(ADDRESS, "/healthz").await.body, b"ok");
    let told = events.take();
    assert!(matches!(&told[..], [ProxyEvent::MetricsServerFailed { .. }]), "{told:?}");
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(ports.open_ports().is_empty());
}

#[tokio::test(start_paused = true)]
async fn taken_port_ends_the_proxy_when_asked_for() {
    let (ports, events) = (FakePorts::new(), FakeEvents::new());
    ports.fail_next(io::ErrorKind::AddrInUse);
    let start = Instant::now();
    let kind = ServerKind::Health;
    let error = keep_open(kind, server(), &ports, &events, BindFailures::Fatal).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(error.to_string().contains(ADDRESS), "{error}");
    let told = events.take();
    assert!(matches!(&told[..], [ProxyEvent::HealthServerFailed { .. }]), "{told:?}");
}

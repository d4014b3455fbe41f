use std::path::Path;

use http::Request;
use serde_json::Value;

use super::*;
use crate::boundary::CgroupDriver;
use crate::cm::names::CgroupNames;
use crate::server::route::{Caller, Found, PathValues, RouteTable};
use crate::stats::{MachineFacts, SeenPods, StatsParts, StatsTask};
use crate::testing::clock::paused_clock;
use crate::testing::fake_host::{FakeCgroups, FakeMachine};
use crate::testing::fake_usage::FakeUsage;

/// The routes of a node whose topmost cgroup can be read, or not.
fn table(readable: bool) -> RouteTable {
    let clock = paused_clock();
    let usage = FakeUsage::new(clock.clone());
    if readable {
        usage.set("/", 9_000, 9_000);
    }
    let (stats, task) = StatsTask::new(StatsParts {
        facts: Arc::new(MachineFacts { node_name: "node-1".to_owned(), ..MachineFacts::default() }),
        pods: Box::new(SeenPods::default),
        usage: Arc::new(usage.clone()),
        cgroups: Arc::new(FakeCgroups::default()),
        machine: Arc::new(FakeMachine::default()),
        runtime: Arc::new(usage),
        names: CgroupNames::new(CgroupDriver::Cgroupfs, Path::new("/")),
        root_dir: "/var/lib/kubelet".into(),
        pod_logs_dir: "/var/log/pods".into(),
        runtime_endpoint: String::new(),
        volumes_period: Some(Duration::from_secs(60)),
        clock,
    });
    tokio::spawn(task.run());
    RouteTable::new(routes(&stats))
}

async fn send(table: &RouteTable, request: Request<Body>) -> (StatusCode, String, String) {
    let path = request.uri().path().to_owned();
    let Found::Route(route, _) = table.find(request.method(), &path) else {
        panic!("no route for {path}")
    };
    let call = Call { path: PathValues::default(), caller: Caller::default(), request };
    let answer = route.answer(call).await;
    let status = answer.status();
    let media = answer.headers().get(header::CONTENT_TYPE);
    let media = media.map(|media| media.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, media, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(table: &RouteTable, path: &str) -> (StatusCode, String, String) {
    send(table, Request::get(path).body(Body::empty()).unwrap()).await
}

fn has_disk(json: &str) -> bool {
    serde_json::from_str::<Value>(json).unwrap()["node"].get("rlimit").is_some()
}

#[tokio::test(start_paused = true)]
async fn the_summary_is_whole_unless_exactly_true_is_asked() {
    let table = table(true);
    for (query, whole) in [
        ("", true),
        ("?only_cpu_and_memory=true", false),
        ("?only_cpu_and_memory=1", true),
        ("?only_cpu_and_memory=true&only_cpu_and_memory=true", true),
        ("?other=true", true),
    ] {
        let (status, media, body) = get(&table, &format!("/stats/summary{query}")).await;
        assert_eq!((status, &*media), (StatusCode::OK, "application/json"));
        assert_eq!(has_disk(&body), whole, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_summary_may_be_posted_for() {
    let table = table(true);
    for (media, whole) in
        [("application/x-www-form-urlencoded; charset=utf-8", false), ("application/json", true)]
    {
        let request = Request::post("/stats/summary").header(header::CONTENT_TYPE, media);
        let request = request.body(Body::from("only_cpu_and_memory=true")).unwrap();
        let (status, _, body) = send(&table, request).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(has_disk(&body), whole, "{media}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_metrics_are_in_the_text_format() {
    let table = table(true);
    for (path, series) in [
        ("/metrics/resource", "node_memory_working_set_bytes 9000 "),
        ("/metrics/cadvisor", "container_memory_working_set_bytes{container=\"\",id=\"/\""),
    ] {
        let (status, media, body) = get(&table, path).await;
        assert_eq!((status, &*media), (StatusCode::OK, CONTENT_TYPE));
        assert!(body.contains(&format!("\n{series}")), "{body}");
        assert!(body.contains("scrape_error 0\n"), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn figures_that_cannot_be_read_are_an_error_the_reader_sees() {
    let table = table(false);
    let (status, _, body) = get(&table, "/stats/summary").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body, "Internal Error: failed to get root cgroup stats");
    for path in ["/metrics/resource", "/metrics/cadvisor"] {
        let (status, _, body) = get(&table, path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("scrape_error 1\n"), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_route_asks_for_its_own_right() {
    let table = table(true);
    let rights: Vec<_> = table.routes().iter().map(|route| (route.path, route.access)).collect();
    assert_eq!(
        rights,
        [
            ("/stats/summary", Access(&["stats"])),
            ("/metrics/resource", Access(&["metrics"])),
            ("/metrics/cadvisor", Access(&["metrics"])),
        ]
    );
}

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tower::BoxError;

use super::*;

type MockBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// What the server answers to one request.
enum Reply {
    Json(u16, Value),
    /// Lines of a watch that the server then closes...
    Closed(Vec<Value>),
    /// ...or cuts...
    Cut(Vec<Value>),
    /// ...or keeps open.
    Open(Vec<Value>),
}

/// A server that plays its replies in order and then lets requests hang. Requests are kept as
/// path and query, with the time they came at.
#[derive(Clone, Default)]
struct Server {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Server {
    fn new(replies: Vec<Reply>) -> Self {
        Self { replies: Arc::new(Mutex::new(replies.into())), requests: Arc::default() }
    }

    fn connections(&self) -> Arc<Connections> {
        let server = self.clone();
        let build = move || {
            let server = server.clone();
            let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
                let server = server.clone();
                async move { server.answer(&request.uri().to_string()).await }
            });
            Ok(kube::Client::new(service, "default"))
        };
        Arc::new(Connections::from_clients(Box::new(build)).unwrap())
    }

    async fn answer(&self, uri: &str) -> Result<http::Response<MockBody>, BoxError> {
        self.requests.lock().unwrap().push((Instant::now(), uri.to_owned()));
        let reply = self.replies.lock().unwrap().pop_front();
        let (status, body) = match reply {
            None => std::future::pending().await,
            Some(Reply::Json(status, value)) => (status, body(vec![value], Tail::End)),
            Some(Reply::Closed(lines)) => (200, body(lines, Tail::End)),
            Some(Reply::Cut(lines)) => (200, body(lines, Tail::Cut)),
            Some(Reply::Open(lines)) => (200, body(lines, Tail::Open)),
        };
        Ok(http::Response::builder().status(status).body(body)?)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(_, uri)| uri.clone()).collect()
    }

    fn times(&self) -> Vec<Instant> {
        self.requests.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }

    /// Starts a watch of ConfigMaps; steps come as short texts.
    fn watch(&self) -> mpsc::Receiver<String> {
        self.watch_over(self.connections())
    }

    fn watch_over(&self, connections: Arc<Connections>) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel(1);
        let scope = WatchScope {
            path: "/api/v1/configmaps".to_owned(),
            subject: "configmaps".to_owned(),
            fields: Some("metadata.name=a".to_owned()),
            labels: None,
            trouble: Trouble::Warn,
        };
        tokio::spawn(watch(connections, scope, sender, |step: WatchStep<ConfigMap>| {
            let name = |object: ConfigMap| object.metadata.name.unwrap_or_default();
            Some(match step {
                WatchStep::Restarted => "restarted".to_owned(),
                WatchStep::Applied(object) => format!("+{}", name(object)),
                WatchStep::Deleted(object) => format!("-{}", name(object)),
                WatchStep::Synced => "synced".to_owned(),
            })
        }));
        receiver
    }
}

enum Tail {
    End,
    Cut,
    Open,
}

fn body(lines: Vec<Value>, tail: Tail) -> MockBody {
    let lines = lines.into_iter().map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n")))));
    let tail = stream::iter([tail]).filter_map(|tail| async move {
        match tail {
            Tail::End => None,
            Tail::Cut => Some(Err(BoxError::from("connection reset"))),
            Tail::Open => std::future::pending().await,
        }
    });
    StreamBody::new(stream::iter(lines).chain(tail)).boxed_unsync()
}

fn object(name: &str, version: u32) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version.to_string()}})
}

fn added(name: &str, version: u32) -> Value {
    json!({"type": "ADDED", "object": object(name, version)})
}

fn deleted(name: &str, version: u32) -> Value {
    json!({"type": "DELETED", "object": object(name, version)})
}

fn bookmark(version: u32, closes_list: bool) -> Value {
    let annotations = if closes_list { json!({INITIAL_EVENTS_END: "true"}) } else { json!({}) };
    json!({"type": "BOOKMARK", "object": {"kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"resourceVersion": version.to_string(), "annotations": annotations}}})
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": "no"})
}

fn page(names: &[&str], next: &str) -> Value {
    let items: Vec<_> = names.iter().map(|name| object(name, 1)).collect();
    json!({"metadata": {"resourceVersion": "9", "continue": next}, "items": items})
}

async fn steps(receiver: &mut mpsc::Receiver<String>, count: usize) -> Vec<String> {
    let mut steps = Vec::new();
    for _ in 0..count {
        let step = timeout(Duration::from_secs(3600), receiver.recv()).await;
        steps.push(step.expect("a step within an hour of the paused clock").unwrap());
    }
    steps
}

#[tokio::test(start_paused = true)]
async fn first_state_is_streamed_and_the_watch_goes_on_from_the_last_version() {
    let server = Server::new(vec![
        Reply::Closed(vec![added("a", 3), bookmark(5, true), added("b", 6), bookmark(8, false)]),
        Reply::Closed(vec![deleted("a", 9)]),
        Reply::Open(vec![added("c", 10)]),
    ]);
    let mut receiver = server.watch();
    let expected = ["restarted", "+a", "synced", "+b", "-a", "+c"];
    assert_eq!(steps(&mut receiver, 6).await, expected);
    let requests = server.requests();
    assert!(requests[0].contains("sendInitialEvents=true"), "{requests:?}");
    assert!(requests[0].contains("resourceVersion=&") || requests[0].ends_with("resourceVersion="));
    assert!(requests[0].contains("fieldSelector=metadata.name%3Da"), "{requests:?}");
    assert!(requests[1].ends_with("resourceVersion=8"), "{requests:?}");
    assert!(!requests[1].contains("sendInitialEvents"), "{requests:?}");
    assert!(requests[2].ends_with("resourceVersion=9"), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn server_without_streaming_lists_is_listed_in_pages() {
    let server = Server::new(vec![
        Reply::Json(422, status(422, "Invalid")),
        Reply::Json(200, page(&["a", "b"], "more")),
        Reply::Json(200, page(&["c"], "")),
        Reply::Open(vec![added("d", 10)]),
    ]);
    let mut receiver = server.watch();
    let expected = ["restarted", "+a", "+b", "+c", "synced", "+d"];
    assert_eq!(steps(&mut receiver, 6).await, expected);
    let requests = server.requests();
    assert!(requests[1].contains("limit=500"), "{requests:?}");
    assert!(requests[2].contains("continue=more"), "{requests:?}");
    assert!(requests[3].ends_with("resourceVersion=9"), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn list_cut_short_begins_anew() {
    let server = Server::new(vec![
        Reply::Cut(vec![added("a", 3)]),
        Reply::Open(vec![added("b", 4), bookmark(5, true)]),
    ]);
    let mut receiver = server.watch();
    let expected = ["restarted", "+a", "restarted", "+b", "synced"];
    assert_eq!(steps(&mut receiver, 5).await, expected);
}

#[tokio::test(start_paused = true)]
async fn broken_connection_loses_nothing() {
    let server = Server::new(vec![
        Reply::Cut(vec![bookmark(5, true), added("a", 6)]),
        Reply::Open(vec![added("b", 7)]),
    ]);
    let mut receiver = server.watch();
    assert_eq!(steps(&mut receiver, 4).await, ["restarted", "synced", "+a", "+b"]);
    assert!(server.requests()[1].ends_with("resourceVersion=6"));
}

#[tokio::test(start_paused = true)]
async fn version_that_is_too_old_leads_to_a_new_list() {
    let expired = json!({"type": "ERROR", "object": status(410, "Expired")});
    let first = || Reply::Closed(vec![bookmark(5, true)]);
    for answer in [Reply::Json(410, status(410, "Expired")), Reply::Closed(vec![expired])] {
        let server =
            Server::new(vec![first(), answer, Reply::Open(vec![added("b", 7), bookmark(8, true)])]);
        let mut receiver = server.watch();
        let expected = ["restarted", "synced", "restarted", "+b", "synced"];
        assert_eq!(steps(&mut receiver, 5).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_half_a_minute_while_the_server_fails() {
    let mut replies: Vec<_> =
        (0..10).map(|_| Reply::Json(503, status(503, "ServiceUnavailable"))).collect();
    replies.push(Reply::Open(vec![bookmark(5, true)]));
    let server = Server::new(replies);
    let mut receiver = server.watch();
    assert_eq!(steps(&mut receiver, 2).await, ["restarted", "synced"]);
    let times = server.times();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (turn, pause) in pauses.iter().enumerate() {
        let full = (PAUSE_FIRST * 2_u32.pow(turn.try_into().unwrap())).min(PAUSE_LONGEST);
        let least = (full / 2).max(PAUSE_FIRST);
        // Timers have a granularity of a millisecond.
        let most = full + Duration::from_millis(2);
        assert!((least..=most).contains(pause), "pause {turn} is {pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn version_that_grew_too_old_in_an_outage_is_replaced_at_once() {
    let mut replies = vec![Reply::Closed(vec![bookmark(5, true)])];
    replies.extend((0..6).map(|_| Reply::Json(503, status(503, "ServiceUnavailable"))));
    replies.push(Reply::Json(410, status(410, "Expired")));
    replies.push(Reply::Open(vec![bookmark(9, true)]));
    let server = Server::new(replies);
    let mut receiver = server.watch();
    let expected = ["restarted", "synced", "restarted", "synced"];
    assert_eq!(steps(&mut receiver, 4).await, expected);
    let times = server.times();
    let pause = times[times.len() - 1] - times[times.len() - 2];
    assert!(pause < PAUSE_FIRST, "pause of {pause:?}");
}

#[tokio::test(start_paused = true)]
async fn missing_permission_is_asked_for_again() {
    let server = Server::new(vec![
        Reply::Json(403, status(403, "Forbidden")),
        Reply::Json(403, status(403, "Forbidden")),
        Reply::Open(vec![bookmark(5, true)]),
    ]);
    let mut receiver = server.watch();
    assert_eq!(steps(&mut receiver, 2).await, ["restarted", "synced"]);
}

#[tokio::test(start_paused = true)]
async fn undecodable_object_leads_to_a_new_list() {
    let odd = json!({"type": "ADDED", "object": {"metadata": {"name": 7}}});
    let server = Server::new(vec![
        Reply::Closed(vec![bookmark(5, true), odd]),
        Reply::Open(vec![added("a", 6), bookmark(7, true)]),
    ]);
    let mut receiver = server.watch();
    let expected = ["restarted", "synced", "restarted", "+a", "synced"];
    assert_eq!(steps(&mut receiver, 5).await, expected);
}

#[tokio::test(start_paused = true)]
async fn silent_watch_is_given_up_after_its_time() {
    let server =
        Server::new(vec![Reply::Open(vec![bookmark(5, true)]), Reply::Open(vec![added("a", 6)])]);
    let mut receiver = server.watch();
    assert_eq!(steps(&mut receiver, 3).await, ["restarted", "synced", "+a"]);
    let times = server.times();
    let lasted = times[1] - times[0];
    assert!(lasted >= Duration::from_secs(300) && lasted <= Duration::from_secs(620));
}

#[tokio::test(start_paused = true)]
async fn watch_ends_with_its_reader() {
    let server = Server::new(vec![Reply::Open(vec![bookmark(5, true)])]);
    let connections = server.connections();
    let (sender, mut receiver) = mpsc::channel::<()>(1);
    let scope = WatchScope {
        path: "/api/v1/configmaps".to_owned(),
        subject: "configmaps".to_owned(),
        fields: None,
        labels: None,
        trouble: Trouble::Debug,
    };
    let running = tokio::spawn(watch(connections, scope, sender, |step: WatchStep<ConfigMap>| {
        matches!(step, WatchStep::Synced).then_some(())
    }));
    receiver.recv().await.unwrap();
    drop(receiver);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn watch_moves_to_new_connections_and_loses_nothing() {
    let server = Server::new(vec![
        Reply::Open(vec![added("a", 3), bookmark(5, true), added("b", 6)]),
        Reply::Open(vec![added("c", 7)]),
    ]);
    let connections = server.connections();
    let mut receiver = server.watch_over(Arc::clone(&connections));
    assert_eq!(steps(&mut receiver, 4).await, ["restarted", "+a", "synced", "+b"]);
    connections.renew().unwrap();
    assert_eq!(steps(&mut receiver, 1).await, ["+c"]);
    let requests = server.requests();
    assert!(requests[1].ends_with("resourceVersion=6"), "{requests:?}");
    let times = server.times();
    assert_eq!(times[1], times[0], "without a pause");
}

#[tokio::test(start_paused = true)]
async fn first_state_that_is_on_its_way_is_not_begun_anew_for_new_connections() {
    let server = Server::new(vec![Reply::Open(vec![added("a", 3)]), Reply::Open(vec![])]);
    let connections = server.connections();
    let mut receiver = server.watch_over(Arc::clone(&connections));
    assert_eq!(steps(&mut receiver, 2).await, ["restarted", "+a"]);
    connections.renew().unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(server.requests().len(), 1);
}

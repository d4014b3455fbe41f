use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::metrics::RuntimeMetrics;
use crate::testing::clock::paused_clock;
use crate::testing::fake_dialer::{FakeDialer, answer};
use crate::testing::fake_runtime::FakeRuntime;
use crate::testing::fake_supplies::FakeSupplies;

struct Ground {
    runtime: FakeRuntime,
    dialer: FakeDialer,
    executor: Executor,
}

impl Ground {
    fn new() -> Self {
        let (runtime, _) = FakeRuntime::new(paused_clock());
        let dialer = FakeDialer::default();
        let executor = Executor {
            sandboxes: Arc::new(runtime.clone()),
            containers: Arc::new(runtime.clone()),
            streaming: Arc::new(runtime.clone()),
            dialer: Arc::new(dialer.clone()),
            supplies: Arc::new(FakeSupplies::default()),
            metrics: RuntimeMetrics::default(),
        };
        Self { runtime, dialer, executor }
    }

    async fn run(&self, handler: Value) -> Result<HookDone, String> {
        let handler = serde_json::from_value(handler).unwrap();
        let (id, uid) = (ContainerId::from("c-1"), PodUid::from("uid-web"));
        let name = PodFullName::new("ns", "web");
        let ports: Vec<api::ContainerPort> =
            serde_json::from_value(json!([{"name": "web", "containerPort": 8080}])).unwrap();
        let ip = Some(IpAddr::from([10, 0, 0, 7]));
        let target = HookTarget { id: &id, name: "app", pod: (&name, &uid), ports: &ports, ip };
        self.executor.run_hook(&handler, target).await.map_err(|error| error.to_string())
    }
}

fn http(action: Value) -> Value {
    json!({"httpGet": action})
}

#[tokio::test(start_paused = true)]
async fn request_goes_where_the_handler_says() {
    for (action, expected) in [
        (json!({"port": 80}), Ok("http http://10.0.0.7:80/")),
        (json!({"port": "web", "path": "/a?b=c"}), Ok("http http://10.0.0.7:8080/a?b=c")),
        (json!({"port": "81", "path": "x"}), Ok("http http://10.0.0.7:81/x")),
        (json!({"port": 80, "host": "h", "scheme": "HTTPS"}), Ok("http https://h:80/")),
        (json!({"port": "none"}), Err("couldn't find port: none")),
        (json!({"port": 70000}), Err("invalid port number: 70000")),
    ] {
        let ground = Ground::new();
        let done = ground.run(http(action.clone())).await;
        match expected {
            Ok(call) => {
                assert_eq!(done, Ok(HookDone::default()), "{action}");
                assert_eq!(ground.dialer.calls(), [call]);
            }
            Err(text) => assert!(done.unwrap_err().ends_with(text), "{action}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn usual_headers_can_be_replaced_and_left_out() {
    let header = |name: &str, value: &str| json!({"name": name, "value": value});
    for (own, expected) in [
        (vec![], vec![("User-Agent", "kube-lifecycle/1.36"), ("Accept", "*/*")]),
        (vec![header("user-agent", "me"), header("accept", "")], vec![("user-agent", "me")]),
        (
            vec![header("X", "1"), header("X", "2")],
            vec![("X", "1"), ("X", "2"), ("User-Agent", "kube-lifecycle/1.36"), ("Accept", "*/*")],
        ),
    ] {
        let ground = Ground::new();
        ground.run(http(json!({"port": 80, "httpHeaders": own}))).await.unwrap();
        let sent = ground.dialer.http_calls().remove(0).headers;
        let sent: Vec<_> = sent.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(sent, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn any_answer_is_success_and_none_is_failure() {
    let ground = Ground::new();
    ground.dialer.set_http(Ok(answer(500, "no")));
    assert_eq!(ground.run(http(json!({"port": 80}))).await, Ok(HookDone::default()));
    ground.dialer.fail_next(DialError::Refused("connection refused".to_owned()));
    assert_eq!(
        ground.run(http(json!({"port": 80, "path": "/x"}))).await.unwrap_err(),
        "HTTP lifecycle hook (/x) for Container \"app\" in Pod \"web_ns(uid-web)\" failed - \
         error: connection refused"
    );
}

#[tokio::test(start_paused = true)]
async fn plain_server_is_asked_again_without_the_credential() {
    let ground = Ground::new();
    ground.dialer.fail_next(DialError::PlainHttp);
    let secret = json!([{"name": "Authorization", "value": "s"}, {"name": "X", "value": "1"}]);
    let action = json!({"port": 80, "scheme": "HTTPS", "httpHeaders": secret});
    let done = ground.run(http(action)).await.unwrap();
    assert_eq!(done.fell_back.as_deref(), Some("10.0.0.7:80"));
    assert_eq!(ground.dialer.calls(), ["http https://10.0.0.7:80/", "http http://10.0.0.7:80/"]);
    let again = ground.dialer.http_calls().remove(1).headers;
    assert!(again.iter().all(|(name, _)| name != "Authorization"), "{again:?}");
    assert!(again.iter().any(|(name, _)| name == "X"), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn command_is_named_with_what_it_printed() {
    let ground = Ground::new();
    let error = ground.run(json!({"exec": {"command": ["a", "b"]}})).await.unwrap_err();
    assert!(error.starts_with(
        "Exec lifecycle hook ([a b]) for Container \"app\" in Pod \"web_ns(uid-web)\" failed - error: "
    ));
    assert!(error.ends_with("not found in the runtime, message: \"\""), "{error}");
    assert_eq!(ground.runtime.count("exec_sync c-1 a b"), 1);
}

#[tokio::test(start_paused = true)]
async fn sleep_takes_its_time_and_a_handler_of_no_known_kind_fails() {
    let ground = Ground::new();
    for seconds in [0, 7] {
        let begun = tokio::time::Instant::now();
        ground.run(json!({"sleep": {"seconds": seconds}})).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
    let error = ground.run(json!({"tcpSocket": {"port": 80}})).await.unwrap_err();
    assert!(error.starts_with("Cannot run handler: invalid handler"), "{error}");
}

//! What passes byte for byte.

use super::*;

const SPDY: &str = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\
    Authorization: Bearer secret\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";
const SWITCHED: &[(&str, &str)] = &[
    ("connection", "Upgrade"),
    ("upgrade", "SPDY/3.1"),
    ("x-stream-protocol-version", "v4.channel.k8s.io"),
];

#[tokio::test(start_paused = true)]
async fn exec_joins_the_caller_with_the_runtimes_streaming_server() {
    let node = Node::new().await;
    let mut runtime = node.server.upgrade_next(SWITCHED);
    let line = "POST /exec/default/web/app?command=sh&command=-c&input=1&output=1&error=1";
    let (mut caller, reply) = node.ask(line, SPDY).await;
    assert_eq!(reply.status, 101);
    assert!(reply.head.contains("x-stream-protocol-version: v4.channel.k8s.io\r\n"));
    assert!(node.runtime.calls().last().unwrap().ends_with(" ioe sh -c"));
    let call = node.server.calls.lock().unwrap().remove(0);
    assert_eq!((call.method, call.url.as_str()), (Method::POST, "http://127.0.0.1:1/exec/token"));
    assert_eq!(call.headers, header_map(SWITCHED));

    caller.write_all(b"from the caller").await.unwrap();
    runtime.write_all(b"from the runtime").await.unwrap();
    let mut read = vec![0; 15];
    runtime.read_exact(&mut read).await.unwrap();
    assert_eq!(read, b"from the caller");
    drop(runtime);
    read.clear();
    caller.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"from the runtime");
    drop(caller);
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn attach_has_the_terminal_of_the_container_whatever_the_caller_says() {
    let node = Node::new().await;
    for (line, wanted) in [
        ("GET /attach/default/web/1/shell?output=1", "ot"),
        ("POST /attach/default/web/app?output=1&input=1&tty=1", "io"),
    ] {
        drop(node.server.upgrade_next(SWITCHED));
        let (_, reply) = node.ask(line, SPDY).await;
        assert_eq!(reply.status, 101);
        assert!(node.runtime.calls().last().unwrap().ends_with(&format!(" {wanted}")));
    }
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_port_forward_over_channels_names_its_ports_beforehand() {
    let node = Node::new().await;
    let websocket = "Connection: upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n";
    for (headers, wanted) in [(SPDY, "[]"), (websocket, "[80, 81]")] {
        drop(node.server.upgrade_next(SWITCHED));
        let line = "GET /portForward/default/web/1?port=80&port=81";
        let (_, reply) = node.ask(line, headers).await;
        assert_eq!(reply.status, 101);
        let call = node.runtime.calls().last().unwrap().clone();
        assert_eq!(call, format!("port_forward_url sandbox-1 {wanted}"));
    }
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_served_is_refused_in_the_kubelets_words() {
    let node = Node::new().await;
    for (line, headers, status, text) in [
        ("POST /exec/default/none/app?output=1", SPDY, 404, "pod does not exist"),
        ("POST /exec/other/web/app?output=1", SPDY, 404, "pod does not exist"),
        ("POST /exec/default/web/9/app?output=1", SPDY, 404, "pod does not exist"),
        ("POST /exec/default/web/none?output=1", SPDY, 500, "container not found (\"none\")"),
        ("POST /exec/default/late/app?output=1", SPDY, 500, "container not found (\"app\")"),
        (
            "POST /exec/default/web/app?%zz",
            SPDY,
            400,
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        ("GET /exec/default/web/app?output=1", "", 500, "Upgrade request required"),
        (
            "POST /exec/default/web/app?output=1&command=%ff",
            SPDY,
            500,
            "rpc error: code = Internal desc = grpc: error while marshaling: string field contains \
             invalid UTF-8",
        ),
        (
            "POST /attach/default/web/none?output=1",
            SPDY,
            500,
            "container none not found in pod web_default",
        ),
        ("POST /portForward/default/web/9", SPDY, 404, "pod not found"),
        ("POST /portForward/default/none", SPDY, 404, "pod does not exist"),
        ("POST /portForward/default/late", SPDY, 500, "pod not found (\"late_default\")"),
        (
            "GET /portForward/default/web",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            400,
            "query parameter \"port\" is required",
        ),
        ("POST /run/default/none/app?cmd=ls", "", 404, "pod does not exist"),
        ("POST /run/default/web/none?cmd=ls", "", 500, "container not found (\"none\")"),
    ] {
        assert_eq!(node.refusal(line, headers).await, (status, text.to_owned()), "{line}");
    }
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_runtime_and_of_its_server_are_passed_on() {
    let node = Node::new().await;
    let line = "POST /exec/default/web/app?output=1";
    let exited = "container is in CONTAINER_EXITED state".to_owned();
    let refused = RuntimeError::Refused { code: "Unknown".to_owned(), message: exited };
    node.runtime.fail_next("exec_url", refused);
    let (status, text) = node.refusal(line, SPDY).await;
    assert_eq!(
        (status, text.as_str()),
        (500, "rpc error: code = Unknown desc = container is in CONTAINER_EXITED state")
    );
    node.runtime.fail_next("list_containers", RuntimeError::DeadlineExceeded("late".to_owned()));
    let (status, text) = node.refusal(line, SPDY).await;
    assert_eq!(
        (status, text.as_str()),
        (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded")
    );
    let unreachable = "dial tcp 127.0.0.1:1: connect: connection refused".to_owned();
    node.server.answer(Err(StreamingServerError::Unreachable(unreachable)));
    let (status, text) = node.refusal(line, SPDY).await;
    assert_eq!(
        (status, text.as_str()),
        (500, "error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused")
    );
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_streaming_server_is_passed_on_but_never_a_redirect() {
    let node = Node::new().await;
    let line = "POST /exec/default/web/app?output=1";
    for (status, wanted) in [
        (404, (404, "what it said")),
        (403, (403, "what it said")),
        (302, (500, "invalid upgrade response: status code 302")),
        (200, (500, "invalid upgrade response: status code 200")),
    ] {
        node.server.answer(Ok(UpgradeAnswer::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            headers: header_map(&[
                ("location", "http://127.0.0.1:1/"),
                ("content-length", "12"),
                ("x-accepted-stream-protocol-versions", "v4.channel.k8s.io"),
            ]),
            body: "what it said".into(),
        }));
        let (_, reply) = node.ask(line, SPDY).await;
        assert_eq!((reply.status, reply.body.as_str()), wanted);
        assert!(!reply.head.contains("location"));
        assert_eq!(reply.head.contains("x-accepted-stream-protocol-versions"), status > 400);
    }
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_streams_are_refused_and_each_end_makes_room() {
    let node = Node::new().await;
    let line = "POST /exec/default/web/app?output=1";
    let mut open = Vec::new();
    for _ in 0..4 {
        let runtime = node.server.upgrade_next(SWITCHED);
        open.push((runtime, node.ask(line, SPDY).await));
    }
    let (_, reply) = node.ask(line, SPDY).await;
    assert_eq!(reply.status, 429);
    assert!(reply.head.contains("retry-after: 60\r\n"));
    let (runtime, (caller, _)) = open.pop().unwrap();
    drop(caller);
    assert_eq!(node.streams.slots.acquire().await.map(drop).ok(), Some(()));
    drop((runtime, open));
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_before_the_answer_leaves_nothing() {
    let node = Node::new().await;
    let _runtime = node.server.upgrade_next(SWITCHED);
    node.runtime.hold("exec_url");
    let mut caller = node.connect();
    let request =
        format!("POST /exec/default/web/app?output=1 HTTP/1.1\r\nHost: node\r\n{SPDY}\r\n");
    caller.write_all(request.as_bytes()).await.unwrap();
    while node.runtime.count("exec_url") == 0 {
        tokio::task::yield_now().await;
    }
    drop(caller);
    node.runtime.release("exec_url");
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn run_answers_with_what_the_command_wrote() {
    let node = Node::new().await;
    node.runtime.set_exec("app", 0, "hello");
    let (status, text) = node.refusal("POST /run/default/web/app?cmd=echo+hello", "").await;
    assert_eq!((status, text.as_str()), (200, "hello"));
    assert!(node.runtime.calls().last().unwrap().ends_with("app echo hello"));
    node.runtime.set_exec("app", 2, "oh no");
    let (status, text) = node.refusal("POST /run/default/web/1/app?cmd=ls", "").await;
    assert_eq!((status, text.as_str()), (500, "command 'ls' exited with 2: oh no"));
}

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::{Notify, oneshot, watch};

use super::*;
use crate::config::{Handlers, TlsChoice};
use crate::server::authenticate::Authenticator;
use crate::server::authorize::Authorizer;
use crate::server::reviews::{AccessReviews, TokenReviews};
use crate::server::route::{Access, Call, Limits, Offer, Route, RouteTable};
use crate::testing::certificates::TestAuthority;
use crate::testing::fake_authn::FakeAuthn;

const MINUTE: Duration = Duration::from_secs(60);
const LIMITS: Limits = Limits { body_bytes: 8, at_once: 2, deadline: MINUTE };

/// A server on loopback that trusts `authority`, which its own certificate is from too.
struct World {
    authority: TestAuthority,
    api: Arc<FakeAuthn>,
    address: SocketAddr,
    certificate: watch::Sender<Option<Arc<rustls::sign::CertifiedKey>>>,
    authorities: watch::Sender<Arc<crate::server::tls::ClientAuthority>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn world(routes: Vec<Route>) -> World {
    world_with(routes, Handlers::All, false).await
}

async fn world_with(routes: Vec<Route>, handlers: Handlers, anonymous: bool) -> World {
    let authority = TestAuthority::new("authority");
    let api = Arc::new(FakeAuthn::default());
    let (certificate, serving) = watch::channel(Some(authority.server(LOOPBACK).certified()));
    let (authorities, trusted) = watch::channel(authority.trusted());
    let gate = Gate::Secure(Box::new(Callers {
        authenticator: Authenticator {
            authorities: Some(trusted.clone()),
            tokens: Some(TokenReviews::new(api.clone(), 2 * MINUTE)),
            anonymous,
            clock: Arc::new(|| "2026-08-01T00:00:00Z".parse().unwrap()),
        },
        authorizer: Authorizer {
            reviews: Some(AccessReviews::new(api.clone(), (5 * MINUTE, MINUTE / 2))),
            node_name: "node-1".to_owned(),
        },
    }));
    let tls = ServerTls::new(TlsChoice::default(), serving, Some(trusted)).unwrap();
    let dispatcher = Dispatcher::new(RouteTable::new(routes), gate, handlers, None);
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve_secure(listener, tls, Arc::new(dispatcher)));
    World { authority, api, address, certificate, authorities, server }
}

impl World {
    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// A client whose certificate names that user, who may do everything.
    fn admin(&self) -> reqwest::Client {
        for subresource in ["proxy", "pods"] {
            self.api.grant("admin", "*", subresource);
        }
        self.authority.http_client(Some(&self.authority.client("admin", &["admins"])))
    }

    async fn get(&self, client: &reqwest::Client, path: &str) -> (StatusCode, String) {
        let answer = client.get(self.url(path)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

fn echo_user(path: &'static str, offer: Offer, access: Access) -> Route {
    Route::new(
        (&[Method::GET, Method::POST], path),
        offer,
        access,
        LIMITS,
        |call: Call| async move {
            let words = format!("{} {:?}", call.caller.user, call.caller.groups);
            Response::new(Body::from(words))
        },
    )
}

fn pods_route() -> Vec<Route> {
    vec![echo_user("/pods", Offer::Secure, Access(&["pods", "proxy"]))]
}

#[tokio::test]
async fn a_client_certificate_names_the_caller_and_his_groups() {
    let world = world(pods_route()).await;
    let client = world.authority.http_client(Some(&world.authority.client("jane", &["a", "b"])));
    world.api.grant("jane", "get", "proxy");
    let wanted = (StatusCode::OK, r#"jane ["a", "b", "system:authenticated"]"#.to_owned());
    assert_eq!(world.get(&client, "/pods").await, wanted);
    assert_eq!(world.api.calls(), ["jane get pods", "jane get proxy"]);
}

#[tokio::test]
async fn who_is_not_known_or_not_allowed_is_told_so_in_the_words_of_the_kubelet() {
    let world = world(pods_route()).await;
    let nobody = world.authority.http_client(None);
    let unauthorized = (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
    assert_eq!(world.get(&nobody, "/pods").await, unauthorized);
    let foreign = TestAuthority::new("other").client("jane", &[]);
    let foreign = world.authority.http_client(Some(&foreign));
    assert_eq!(world.get(&foreign, "/pods").await, unauthorized);
    let jane = world.authority.http_client(Some(&world.authority.client("jane", &[])));
    let words = "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[pods proxy])\n";
    assert_eq!(world.get(&jane, "/pods").await, (StatusCode::FORBIDDEN, words.to_owned()));
    let words = "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[proxy])\n";
    assert_eq!(world.get(&jane, "/nowhere").await, (StatusCode::FORBIDDEN, words.to_owned()));
}

fn any_method(path: &'static str, limits: Limits) -> Route {
    Route::new((&[], path), Offer::Secure, Access::PROXY, limits, |call: Call| async move {
        let body = axum::body::to_bytes(call.request.into_body(), usize::MAX).await;
        Response::new(Body::from(format!("{body:?}")))
    })
}

#[tokio::test]
async fn methods_and_paths_that_do_not_exist_are_answered_as_by_the_kubelet() {
    let mut routes = pods_route();
    routes.push(any_method("/metrics", LIMITS));
    let world = world(routes).await;
    let client = world.admin();
    let words = "404 page not found\n".to_owned();
    assert_eq!(world.get(&client, "/nowhere").await, (StatusCode::NOT_FOUND, words));
    let words = "404: Page Not Found".to_owned();
    assert_eq!(world.get(&client, "/pods/nowhere").await, (StatusCode::NOT_FOUND, words));
    for method in [Method::HEAD, Method::PUT] {
        let answer = client.request(method.clone(), world.url("/pods")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()["allow"], "GET, POST");
        let words = if method == Method::HEAD { "" } else { "405: Method Not Allowed" };
        assert_eq!(answer.text().await.unwrap(), words);
    }
    let answer = client.head(world.url("/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.text().await.unwrap(), "");
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_announced_or_not() {
    let world = world(vec![any_method("/sink", LIMITS)]).await;
    let client = world.admin();
    let post = |body: reqwest::Body| client.post(world.url("/sink")).body(body).send();
    assert_eq!(post("12345678".into()).await.unwrap().text().await.unwrap(), "Ok(b\"12345678\")");
    let unannounced = |text: &'static str| {
        reqwest::Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>(text)]))
    };
    assert_eq!(post(unannounced("12345678")).await.unwrap().status(), StatusCode::OK);
    for body in ["123456789".into(), unannounced("123456789")] {
        let answer = post(body).await.unwrap();
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.text().await.unwrap(), "http: request body too large\n");
    }
}

/// A route that answers when `go` is told, and how often it was asked.
fn waiting(go: &Arc<Notify>) -> (Route, watch::Receiver<usize>) {
    let go = Arc::clone(go);
    let (asked, seen) = watch::channel(0);
    let limits = Limits { deadline: 100 * MINUTE, ..LIMITS };
    let route = Route::new((&[], "/wait"), Offer::Secure, Access::PROXY, limits, move |_| {
        asked.send_modify(|asked| *asked += 1);
        let go = Arc::clone(&go);
        async move {
            go.notified().await;
            Response::new(Body::from("done"))
        }
    });
    (route, seen)
}

#[tokio::test]
async fn a_route_answers_so_many_at_once_and_others_are_not_held() {
    let go = Arc::new(Notify::new());
    let mut routes = pods_route();
    let (route, mut began) = waiting(&go);
    routes.push(route);
    let world = world(routes).await;
    let client = world.admin();
    let mut first = Vec::new();
    for number in 1..=LIMITS.at_once {
        first.push(tokio::spawn(client.get(world.url("/wait")).send()));
        began.wait_for(|begun| *begun == number).await.unwrap();
    }
    let refused = client.get(world.url("/wait")).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(world.get(&client, "/pods").await.0, StatusCode::OK);
    for _ in 0..LIMITS.at_once {
        go.notify_one();
    }
    for answer in first {
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_request_only() {
    let mut routes = pods_route();
    routes.push(Route::new((&[], "/panic"), Offer::Secure, Access::PROXY, LIMITS, |_| async {
        panic!("on purpose")
    }));
    let world = world(routes).await;
    let client = world.admin();
    let failed = (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n".to_owned());
    assert_eq!(world.get(&client, "/panic").await, failed);
    assert_eq!(world.get(&client, "/pods").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_over_both_versions_of_http() {
    let world = world(pods_route()).await;
    let admin = world.authority.client("admin", &[]);
    world.api.grant("admin", "*", "proxy");
    for protocols in [&[b"h2".to_vec()][..], &[b"http/1.1".to_vec()][..]] {
        let mut tls = world.authority.client_config(Some(&admin));
        tls.alpn_protocols = protocols.to_vec();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
        let client = client.build().unwrap();
        let get = |bytes: usize| {
            client.get(world.url("/pods")).header("x-long", "a".repeat(bytes)).send()
        };
        assert_eq!(get(60 << 10).await.unwrap().status(), StatusCode::OK);
        let answer = get(256 << 10).await.map(|answer| answer.status());
        // The client may learn of it as a refused stream while it still sends.
        let refused = matches!(answer, Ok(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) | Err(_));
        assert!(refused, "{answer:?}");
        assert_eq!(get(1).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn debugging_routes_can_be_disabled() {
    let routes = vec![
        echo_user("/run/{pod}", Offer::Debugging, Access::PROXY),
        echo_user("/pods", Offer::Secure, Access(&["pods", "proxy"])),
    ];
    let world = world_with(routes, Handlers::WithoutDebugging, false).await;
    let client = world.admin();
    let words = "Debug endpoints are disabled.\n".to_owned();
    assert_eq!(world.get(&client, "/run/a").await, (StatusCode::METHOD_NOT_ALLOWED, words));
    assert_eq!(world.get(&client, "/pods").await.0, StatusCode::OK);
    let nobody = world.authority.http_client(None);
    assert_eq!(world.get(&nobody, "/run/a").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_client_that_forgets_tls_is_told_so() {
    let world = world(pods_route()).await;
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut line = [0; 24];
    socket.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.0 400 Bad Request");
}

#[tokio::test]
async fn anonymous_callers_need_rights_as_everybody_does() {
    let world = world_with(pods_route(), Handlers::All, true).await;
    let nobody = world.authority.http_client(None);
    let (code, words) = world.get(&nobody, "/pods").await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert!(words.starts_with("Forbidden (user=system:anonymous, verb=get,"), "{words}");
    // The no is kept for a while; another verb is another question.
    world.api.grant("system:anonymous", "create", "pods");
    let answer = nobody.post(world.url("/pods")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), r#"system:anonymous ["system:unauthenticated"]"#);
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_handshake_on_and_without_one_there_is_none() {
    let world = world(pods_route()).await;
    let admin = world.admin();
    assert_eq!(world.get(&admin, "/pods").await.0, StatusCode::OK);
    let successor = TestAuthority::new("successor");
    world.certificate.send_replace(Some(successor.server(LOOPBACK).certified()));
    // The connection that is open goes on.
    assert_eq!(world.get(&admin, "/pods").await.0, StatusCode::OK);
    let jane = world.authority.client("jane", &[]);
    let answer = world.authority.http_client(Some(&jane)).get(world.url("/pods")).send().await;
    assert!(answer.unwrap_err().is_connect());
    let trusting = successor.http_client(Some(&jane));
    assert_eq!(world.get(&trusting, "/pods").await.0, StatusCode::FORBIDDEN);
    world.certificate.send_replace(None);
    let answer = successor.http_client(None).get(world.url("/pods")).send().await;
    assert!(answer.unwrap_err().is_connect());
    assert_eq!(world.get(&admin, "/pods").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_change_of_the_authorities_counts_for_open_connections_too() {
    let world = world(pods_route()).await;
    let admin = world.admin();
    assert_eq!(world.get(&admin, "/pods").await.0, StatusCode::OK);
    let successor = TestAuthority::new("successor");
    world.authorities.send_replace(successor.trusted());
    assert_eq!(world.get(&admin, "/pods").await.0, StatusCode::UNAUTHORIZED);
    let new = successor.client("admin", &[]);
    let new = world.authority.http_client(Some(&new));
    assert_eq!(world.get(&new, "/pods").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_read_only_port_offers_what_needs_no_credentials_and_nothing_else() {
    let routes = vec![
        echo_user("/pods", Offer::SecureAndReadOnly, Access(&["pods", "proxy"])),
        echo_user("/configz", Offer::Secure, Access::PROXY),
        echo_user("/exec", Offer::Debugging, Access::PROXY),
    ];
    let dispatcher = Dispatcher::new(RouteTable::new(routes), Gate::ReadOnly, Handlers::All, None);
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve_read_only(listener, Arc::new(dispatcher)));
    let codes = ["/pods", "/configz", "/exec", "/nowhere"].map(|path| async move {
        let client = TestAuthority::new("unused").http_client(None);
        client.get(format!("http://{address}{path}")).send().await.unwrap().status().as_u16()
    });
    assert_eq!(futures::future::join_all(codes).await, [200, 404, 404, 404]);
    server.abort();
}

#[tokio::test]
async fn a_handler_can_take_the_connection_over() {
    let upgrade = Route::new(
        (&[Method::POST], "/exec"),
        Offer::Secure,
        Access::PROXY,
        LIMITS,
        |mut call: Call| async move {
            let upgrading = hyper::upgrade::on(&mut call.request);
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrading.await.unwrap()));
                tokio::io::copy(&mut from, &mut to).await.unwrap();
            });
            let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            answer.header("upgrade", "SPDY/3.1").body(Body::empty()).unwrap()
        },
    );
    let world = world(vec![upgrade]).await;
    world.api.grant("admin", "create", "proxy");
    let tls = world.authority.client_config(Some(&world.authority.client("admin", &[])));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let socket = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let stream = connector.connect(LOOPBACK.into(), socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = Request::post("/exec")
        .header("host", "node")
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Body::empty())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
}

/// One connection without TLS whose requests all are allowed, on the paused clock.
fn connection(routes: Vec<Route>) -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = duplex(1 << 20);
    let authenticator = Authenticator {
        authorities: None,
        tokens: None,
        anonymous: true,
        clock: Arc::new(|| "2026-08-01T00:00:00Z".parse().unwrap()),
    };
    let authorizer = Authorizer { reviews: None, node_name: "node-1".to_owned() };
    let gate = Gate::Secure(Box::new(Callers { authenticator, authorizer }));
    let dispatcher = Dispatcher::new(RouteTable::new(routes), gate, Handlers::All, None);
    let pass = Strangers::new(1).admit();
    let serving = connection::serve(theirs, PeerCertificates::from([]), pass, Arc::new(dispatcher));
    (ours, tokio::spawn(serving))
}

async fn elapsed(serving: tokio::task::JoinHandle<()>, since: tokio::time::Instant) -> Duration {
    serving.await.unwrap();
    since.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_request_is_let_go_after_ten_seconds() {
    for begin in ["", "G", "GET /pods HTTP/1.1\r\nhost: a\r\n"] {
        let began = tokio::time::Instant::now();
        let (mut client, serving) = connection(pods_route());
        client.write_all(begin.as_bytes()).await.unwrap();
        let took = elapsed(serving, began).await;
        assert!(took.as_secs() == 10, "{begin:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_one_with_a_request_is_not() {
    let go = Arc::new(Notify::new());
    let (slow, _) = waiting(&go);
    let (mut client, serving) = connection(vec![slow]);
    client.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(50 * MINUTE).await;
    assert!(!serving.is_finished());
    go.notify_one();
    let mut head = [0; 15];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let took = elapsed(serving, tokio::time::Instant::now()).await;
    assert!((90..=95).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_answer_in_time_is_given_up() {
    let (dropped, mut seen) = oneshot::channel::<()>();
    let dropped = Arc::new(Mutex::new(Some(dropped)));
    let hang = Route::new((&[], "/hang"), Offer::Secure, Access::PROXY, LIMITS, move |_| {
        let held = dropped.lock().unwrap().take();
        async move {
            let _held = held;
            std::future::pending().await
        }
    });
    let (mut client, _serving) = connection(vec![hang]);
    client.write_all(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut head = [0; 28];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 504 Gateway Timeout");
    assert!(matches!(seen.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_handler_ends_when_its_client_leaves() {
    let (dropped, seen) = oneshot::channel::<()>();
    let dropped = Arc::new(Mutex::new(Some(dropped)));
    let hang = Route::new((&[], "/hang"), Offer::Secure, Access::PROXY, LIMITS, move |_| {
        let held = dropped.lock().unwrap().take();
        async move {
            let _held = held;
            std::future::pending().await
        }
    });
    let began = tokio::time::Instant::now();
    let (mut client, serving) = connection(vec![hang]);
    client.write_all(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(client);
    seen.await.unwrap_err();
    serving.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn a_request_is_counted_from_its_begin_to_the_end_of_its_answer() {
    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);
    impl RequestMetrics for Log {
        fn began(&self, labels: &RequestLabels) {
            let RequestLabels { method, path, server, long_running } = labels;
            let words = format!("{method} {path} {} {long_running}", server.label());
            self.0.lock().unwrap().push(words);
        }
        fn ended(&self, _: &RequestLabels, code: Option<StatusCode>, _: Duration) {
            self.0.lock().unwrap().push(format!("{code:?}"));
        }
    }
    let log = Arc::new(Log::default());
    let routes = vec![echo_user("/exec/{pod}", Offer::SecureAndReadOnly, Access::PROXY)];
    let table = RouteTable::new(routes);
    let dispatcher = Dispatcher::new(table, Gate::ReadOnly, Handlers::All, Some(log.clone()));
    for (method, path) in [("GET", "/exec/a"), ("BREW", "/nowhere/secret")] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = dispatcher.answer(&PeerCertificates::from([]), request, || {}).await;
        log.0.lock().unwrap().push("answered".to_owned());
        drop(answer);
    }
    let lines = log.0.lock().unwrap().clone();
    let wanted = [
        "GET exec readonly true",
        "answered",
        "Some(200)",
        "other other readonly false",
        "answered",
        "Some(404)",
    ];
    assert_eq!(lines, wanted);
}

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use rustls::pki_types::CertificateDer;
use serde_json::json;

use super::*;
use crate::config::Handlers;
use crate::config::resolve::{Surroundings, resolve};
use crate::pleg::{PlegTask, RuntimeReader};
use crate::podsource::DesiredPods;
use crate::podworker::WorkerStates;
use crate::server::authenticate::PeerCertificates;
use crate::startup::kubelet::tests::ground;
use crate::status::StatusHandle;
use crate::testing::certificates::TestAuthority;
use crate::testing::fake_authn::FakeAuthn;

/// Every route of the server with what it asks for: methods, path, subresources. A method list of
/// `*` is all of them.
const ROWS: &[(&str, &str, &[&str])] = &[
    ("*", "/healthz", &["healthz", "proxy"]),
    ("*", "/healthz/ping", &["healthz", "proxy"]),
    ("*", "/healthz/log", &["healthz", "proxy"]),
    ("*", "/healthz/syncloop", &["healthz", "proxy"]),
    ("GET", "/pods", &["pods", "proxy"]),
    ("*", "/configz", &["configz", "proxy"]),
    ("*", "/debug/flags/v", &["proxy"]),
    ("*", "/flagz", &["configz"]),
    ("*", "/metrics", &["metrics"]),
    ("*", "/metrics/cadvisor", &["metrics"]),
    ("*", "/metrics/probes", &["metrics"]),
    ("*", "/metrics/resource", &["metrics"]),
    ("*", "/metrics/slis", &["metrics"]),
    ("*", "/statusz", &["statusz"]),
    ("GET", "/containerLogs/{namespace}/{pod}/{container}", &["proxy"]),
    ("GET", "/debug/pprof/{*name}", &["proxy"]),
    ("GET", "/logs/{*rest}", &["log"]),
    ("GET", "/runningpods", &["pods", "proxy"]),
    ("GET POST", "/attach/{namespace}/{pod}/{container}", &["proxy"]),
    ("GET POST", "/attach/{namespace}/{pod}/{uid}/{container}", &["proxy"]),
    ("GET POST", "/exec/{namespace}/{pod}/{container}", &["proxy"]),
    ("GET POST", "/exec/{namespace}/{pod}/{uid}/{container}", &["proxy"]),
    ("GET POST", "/portForward/{namespace}/{pod}", &["proxy"]),
    ("GET POST", "/portForward/{namespace}/{pod}/{uid}", &["proxy"]),
    ("GET POST", "/stats/summary", &["stats"]),
    ("POST", "/checkpoint/{namespace}/{pod}/{container}", &["checkpoint"]),
    ("POST", "/run/{namespace}/{pod}/{container}", &["proxy"]),
    ("POST", "/run/{namespace}/{pod}/{uid}/{container}", &["proxy"]),
];

/// Everything that routes are made from, on a node without anything.
struct World {
    config: AgentConfig,
    arguments: RunArguments,
    ground: Ground,
    pods: NodePods,
    pleg_health: watch::Receiver<Option<String>>,
}

fn world(root: &Path) -> World {
    let around = Surroundings {
        hostname: "node-1".to_owned(),
        root_dir: Some(root.to_owned()),
        ..Surroundings::default()
    };
    let ground = ground(root);
    let reader = RuntimeReader {
        sandboxes: Arc::new(ground.runtime.clone()),
        containers: Arc::new(ground.runtime.clone()),
    };
    let (_, pleg) = PlegTask::new(reader, tokio::sync::mpsc::channel(1).1);
    let pods = NodePods {
        desired: watch::channel(Arc::new(DesiredPods::default())).1,
        workers: watch::channel(Arc::new(WorkerStates::default())).1,
        status: StatusHandle::nowhere(),
        pleg,
    };
    World {
        config: resolve(serde_json::from_value(json!({})).unwrap(), around).unwrap(),
        arguments: RunArguments::default(),
        ground,
        pods,
        pleg_health: watch::channel(None).1,
    }
}

impl World {
    fn parts(&self) -> ServerParts<'_> {
        ServerParts {
            ground: &self.ground,
            arguments: &self.arguments,
            pods: self.pods.clone(),
            pleg_health: self.pleg_health.clone(),
            signed_certificate: None,
            stats: StatsHandle::nowhere(),
            log_watch: None,
            verbosity: LogVerbosity::new(|_| Ok(())),
        }
    }

    fn routes(&self) -> Vec<Route> {
        routes(&self.config, &self.parts())
    }
}

fn row(route: &Route) -> (String, &'static str, &'static [&'static str]) {
    let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
    let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(" ") };
    (methods, route.path, route.access.0)
}

#[tokio::test]
async fn every_route_has_a_row_and_every_row_a_route() {
    let dir = tempfile::tempdir().unwrap();
    let routes = world(dir.path()).routes();
    let found: BTreeSet<_> = routes.iter().map(row).collect();
    let wanted = ROWS.iter().map(|(methods, path, access)| ((*methods).to_owned(), *path, *access));
    let wanted: BTreeSet<_> = wanted.collect();
    let without_row: Vec<_> = found.difference(&wanted).collect();
    let without_route: Vec<_> = wanted.difference(&found).collect();
    assert!(without_row.is_empty(), "routes without a row: {without_row:?}");
    assert!(without_route.is_empty(), "rows without a route: {without_route:?}");
    assert_eq!(found.len(), routes.len(), "a route is there twice");
}

#[test]
fn only_the_kubelets_subresources_are_asked_for_and_proxy_last() {
    let known = ["pods", "healthz", "configz", "stats", "metrics", "log", "checkpoint", "statusz"];
    for (_, path, access) in ROWS {
        let (last, finer) = access.split_last().unwrap();
        assert!(*last == "proxy" || known.contains(last), "{path}");
        assert!(finer.iter().all(|subresource| known.contains(subresource)), "{path}");
    }
}

/// The table with handlers that only say that they were reached: what is asked is who gets there.
fn reachable(routes: &[Route]) -> Vec<Route> {
    let reached = |route: &Route| {
        let (methods, offer) = (route.methods.as_slice(), route.offer);
        Route::new((methods, route.path), offer, route.access, route.limits, |_| async {
            axum::response::Response::new(Body::from("reached"))
        })
    };
    routes.iter().map(reached).collect()
}

/// A request that the route takes.
fn request(route: &Route) -> Request<Body> {
    let method = route.methods.first().cloned().unwrap_or(Method::GET);
    let parts = route.path.split('/').map(|part| if part.starts_with('{') { "a" } else { part });
    let path = parts.collect::<Vec<_>>().join("/");
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

fn verb(route: &Route) -> &'static str {
    match route.methods.first() {
        None => "get",
        Some(method) if *method == Method::GET => "get",
        Some(method) if *method == Method::POST => "create",
        Some(method) if *method == Method::PUT => "update",
        Some(method) => panic!("{method} has no verb in this test"),
    }
}

/// What a caller shows and may do.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// No credential at all.
    Nobody,
    /// A certificate of an authority that is not trusted.
    WrongAuthority,
    /// A token that the API server does not know.
    WrongToken,
    /// A good certificate without any right.
    Unauthorized,
    /// A right to the first subresource the route asks for and nothing else, for the verb.
    Subresource,
    /// A right to `nodes/proxy` only.
    Proxy,
    /// Rights to all subresources, but for another verb.
    OtherVerb,
}

async fn code(routes: &[Route], route: &Route, who: Who) -> StatusCode {
    let authority = TestAuthority::new("authority");
    let api = Arc::new(FakeAuthn::default());
    match who {
        Who::Subresource => api.grant("jane", verb(route), route.access.0[0]),
        Who::Proxy => api.grant("jane", verb(route), "proxy"),
        Who::OtherVerb => {
            for subresource in route.access.0 {
                api.grant("jane", "delete", subresource);
            }
        }
        _ => {}
    }
    let shown: Option<CertificateDer<'static>> = match who {
        Who::Nobody | Who::WrongToken => None,
        Who::WrongAuthority => Some(TestAuthority::new("other").client("jane", &[]).der()),
        _ => Some(authority.client("jane", &[]).der()),
    };
    let ttl = Duration::from_secs(60);
    let gate = Gate::Secure(Box::new(Callers {
        authenticator: Authenticator {
            authorities: Some(watch::channel(authority.trusted()).1),
            tokens: Some(TokenReviews::new(api.clone(), ttl)),
            anonymous: false,
            clock: Arc::new(|| "2026-08-01T00:00:00Z".parse().unwrap()),
        },
        authorizer: Authorizer {
            reviews: Some(AccessReviews::new(api, (ttl, ttl))),
            node_name: "node-1".to_owned(),
        },
    }));
    let table = RouteTable::new(routes.to_vec());
    let dispatcher = Dispatcher::new(table, gate, Handlers::All, None);
    let mut request = request(route);
    if let Who::WrongToken = who {
        request.headers_mut().insert("authorization", "Bearer wrong".parse().unwrap());
    }
    let peer: PeerCertificates = shown.into_iter().collect();
    dispatcher.answer(&peer, request, || {}).await.status()
}

#[tokio::test]
async fn nobody_gets_anywhere_without_the_right_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let routes = reachable(&world(dir.path()).routes());
    for route in &routes {
        let proxy_helps = route.access.0.contains(&"proxy");
        for (who, wanted) in [
            (Who::Nobody, 401),
            (Who::WrongAuthority, 401),
            (Who::WrongToken, 401),
            (Who::Unauthorized, 403),
            (Who::OtherVerb, 403),
            (Who::Subresource, 200),
            (Who::Proxy, if proxy_helps { 200 } else { 403 }),
        ] {
            let code = code(&routes, route, who).await;
            assert_eq!(code.as_u16(), wanted, "{who:?} {:?} {}", route.methods, route.path);
        }
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_made_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path());
    let parts = world.parts();
    let paths = own_certificate(&world.config, &parts).unwrap();
    assert_eq!(paths.certificate, dir.path().join("pki/kubelet.crt"));
    let mut files = WatchedFiles::new(vec![paths.certificate, paths.key]);
    let first = files.read().unwrap();
    assert!(parse_pair(&first).unwrap().is_some());
    own_certificate(&world.config, &parts).unwrap();
    assert_eq!(files.read().unwrap(), first);
}

#[tokio::test]
async fn changed_files_are_taken_when_they_are_good_and_the_ones_before_kept_when_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("number");
    std::fs::write(&path, "1").unwrap();
    let parse = |texts: &[Vec<u8>]| {
        let text = String::from_utf8_lossy(&texts[0]);
        text.parse::<u32>().map_err(|error| error.to_string())
    };
    let mut tasks = Tasks::new();
    let what = "the number".to_owned();
    let mut number = follow(vec![path.clone()], what, parse, &mut tasks, "number").unwrap();
    assert_eq!(*number.borrow_and_update(), 1);
    std::fs::write(&path, "none").unwrap();
    std::fs::write(&path, "2").unwrap();
    number.changed().await.unwrap();
    assert_eq!(*number.borrow_and_update(), 2);
}

#[tokio::test]
async fn a_file_that_is_not_usable_at_the_start_is_told_with_its_field() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world(dir.path());
    let path = dir.path().join("ca.crt");
    world.config.server.authentication.client_ca_file = Some(path.clone());
    let mut tasks = Tasks::new();
    let missing = client_authorities(&world.config, &mut tasks).unwrap_err().message;
    std::fs::write(&path, "nonsense").unwrap();
    let unusable = client_authorities(&world.config, &mut tasks).unwrap_err().message;
    for message in [missing, unusable] {
        let field = format!("authentication.x509.clientCAFile {}: ", path.display());
        assert!(message.contains(&field), "{message}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_its_field() {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let taken = bind(address, "port").await.unwrap();
    let error = bind(taken.local_addr().unwrap(), "port").await.unwrap_err();
    assert!(error.message.contains("change port or address"), "{}", error.message);
}

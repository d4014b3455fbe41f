//! Against a TLS server in this process, on a loopback port of the kernel's choice.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::BASE64;
use http_body_util::{Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use k8s_openapi::api::core::v1 as core;
use netproxy::metrics::BuildFacts;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::adapters::kube::KubeApi;
use crate::boundary::{NodesApi, ObjectsApi, PodsApi};
use crate::metrics::{NodeCounts, NodeMetrics};

type Answer = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// One request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    connection: usize,
    version: http::Version,
    client_certificates: usize,
    /// The first of them.
    client: Vec<u8>,
    path: String,
    headers: http::HeaderMap,
    body: String,
}

impl Seen {
    fn header(&self, name: http::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// How the server answers, by a piece of the path.
#[derive(Clone, Copy)]
enum Manner {
    /// Requests are answered with an empty object, watches stay open and silent.
    Friendly,
    /// Nothing is ever answered.
    Mute,
}

/// What the server writes down: requests, and connections that are open.
type Logs = (Arc<watch::Sender<Vec<Seen>>>, Arc<watch::Sender<BTreeSet<usize>>>);

struct TestServer {
    address: SocketAddr,
    authority_pem: String,
    client_pem: String,
    client_key_pem: String,
    /// Another client certificate of the same authority, with its key.
    other_pem: (String, String),
    /// Connections that are open.
    open: watch::Receiver<BTreeSet<usize>>,
    seen: watch::Receiver<Vec<Seen>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl TestServer {
    async fn start(certificate_name: &str, manner: Manner) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key)
        };
        let (server_certificate, server_key) = issue(certificate_name);
        let (client_certificate, client_key) = issue("node");
        let (other_certificate, other_key) = issue("node");
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![server_certificate.der().clone()],
                PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (log, seen) = watch::channel(Vec::new());
        let (opened, open) = watch::channel(BTreeSet::new());
        let logs = (Arc::new(log), Arc::new(opened));
        let accepting = tokio::spawn(accept(listener, Arc::new(tls), manner, logs));
        Self {
            address,
            authority_pem: authority.pem(),
            client_pem: client_certificate.pem(),
            client_key_pem: client_key.serialize_pem(),
            other_pem: (other_certificate.pem(), other_key.serialize_pem()),
            open,
            seen,
            accepting,
        }
    }

    fn kubeconfig(&self, cluster: &str, user: &str) -> Kubeconfig {
        let text = format!(
            "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
             clusters:\n- name: c\n  cluster:\n    server: https://127.0.0.1:{}\n    \
             certificate-authority-data: {}\n{cluster}users:\n- name: u\n  user:\n{user}",
            self.address.port(),
            BASE64.encode(self.authority_pem.as_bytes()),
        );
        Kubeconfig::parse(&text, Path::new("kubelet.conf")).unwrap()
    }

    fn certificate_user(&self) -> String {
        format!(
            "    client-certificate-data: {}\n    client-key-data: {}\n",
            BASE64.encode(self.client_pem.as_bytes()),
            BASE64.encode(self.client_key_pem.as_bytes())
        )
    }

    fn api(&self) -> KubeApi {
        let kubeconfig = self.kubeconfig("", &self.certificate_user());
        KubeApi::connect(&kubeconfig, "node-1").unwrap()
    }

    /// The two client certificates with their keys.
    fn identities(&self) -> [Arc<CertifiedKey>; 2] {
        let pairs =
            [(&self.client_pem, &self.client_key_pem), (&self.other_pem.0, &self.other_pem.1)];
        pairs.map(|(certificate, key)| {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            Arc::new(CertifiedKey::from_der(chain, key, &provider).unwrap())
        })
    }

    /// Waits until so many requests have come.
    async fn requests(&self, count: usize) -> Vec<Seen> {
        self.seen.clone().wait_for(|seen| seen.len() >= count).await.unwrap().clone()
    }
}

async fn accept(listener: TcpListener, tls: Arc<ServerConfig>, manner: Manner, (log, open): Logs) {
    let connections = AtomicUsize::new(0);
    // Connections end with this set, and so with the server.
    let mut serving = tokio::task::JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { return };
        let connection = connections.fetch_add(1, Ordering::Relaxed);
        let (tls, log, open) = (Arc::clone(&tls), Arc::clone(&log), Arc::clone(&open));
        serving.spawn(async move {
            let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(socket).await else {
                return;
            };
            let clients = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
            open.send_modify(|open| {
                open.insert(connection);
            });
            let service = hyper::service::service_fn(move |request| {
                answer(request, connection, clients.clone(), manner, Arc::clone(&log))
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            open.send_modify(|open| {
                open.remove(&connection);
            });
        });
    }
}

async fn answer(
    request: http::Request<Incoming>,
    connection: usize,
    clients: Vec<CertificateDer<'static>>,
    manner: Manner,
    log: Arc<watch::Sender<Vec<Seen>>>,
) -> Result<http::Response<Answer>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path_and_query().unwrap().to_string();
    let seen = Seen {
        connection,
        version: parts.version,
        client_certificates: clients.len(),
        client: clients.first().map(|client| client.to_vec()).unwrap_or_default(),
        path: path.clone(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    log.send_modify(|all| all.push(seen));
    if matches!(manner, Manner::Mute) {
        return std::future::pending().await;
    }
    if path.ends_with("/held") {
        let released = |seen: &Vec<Seen>| seen.iter().any(|seen| seen.path.ends_with("/release"));
        log.subscribe().wait_for(released).await.unwrap();
    }
    let body = if path.contains("watch=true") {
        let silence = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        StreamBody::new(silence).boxed_unsync()
    } else {
        let object = json!({"metadata": {"name": "x", "managedFields": [{"manager": "y"}]}});
        Full::new(Bytes::from(object.to_string())).boxed_unsync()
    };
    Ok(http::Response::new(body))
}

#[tokio::test]
async fn calls_share_one_http2_connection_that_shows_the_client_certificate() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let api = server.api();
    let pod = api.get_pod("ns", "web").await.unwrap();
    assert_eq!(pod.metadata.managed_fields, None);
    api.get_secret("ns", "s").await.unwrap();
    let seen = server.requests(2).await;
    assert_eq!(seen[0].version, http::Version::HTTP_2);
    assert_eq!(seen[0].client_certificates, 1);
    assert_eq!(seen[0].path, "/api/v1/namespaces/ns/pods/web");
    let agent = format!("noded/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen[0].header(http::header::USER_AGENT), agent);
    assert_eq!(seen[1].path, "/api/v1/namespaces/ns/secrets/s");
    assert_eq!(seen[1].connection, seen[0].connection);
}

#[tokio::test]
async fn heartbeats_have_a_connection_of_their_own() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let api = server.api();
    api.get_pod("ns", "web").await.unwrap();
    api.get_lease().await.unwrap();
    api.patch_node_status(json!({"status": {"phase": "x"}})).await.unwrap();
    let seen = server.requests(3).await;
    assert_eq!(
        seen[1].path,
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1"
    );
    assert_eq!(seen[2].path, "/api/v1/nodes/node-1/status?");
    assert_eq!(
        seen[2].header(http::header::CONTENT_TYPE),
        "application/strategic-merge-patch+json"
    );
    assert_eq!(seen[2].body, r#"{"status":{"phase":"x"}}"#);
    assert_eq!(seen[1].connection, seen[2].connection);
    assert_ne!(seen[0].connection, seen[1].connection);
}

#[tokio::test]
async fn watches_spread_over_connections_of_eighty() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let api = server.api();
    let readers: Vec<mpsc::Receiver<_>> =
        (0..81).map(|number| api.watch_config_map("ns", &format!("cm-{number}"))).collect();
    let seen = server.requests(81).await;
    let mut by_connection = std::collections::BTreeMap::new();
    for request in &seen {
        *by_connection.entry(request.connection).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = by_connection.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 80]);
    // A plain call and a heartbeat still get through.
    api.get_pod("ns", "web").await.unwrap();
    api.get_node().await.unwrap();
    drop(readers);
}

#[tokio::test]
async fn place_of_an_ended_watch_is_used_again() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let kubeconfig = server.kubeconfig("", &server.certificate_user());
    let connections = Connections::new(&kubeconfig, watch::channel(None).1, None).unwrap();
    let slots: Vec<_> = (0..80).map(|_| connections.watch_slot().unwrap()).collect();
    drop(slots);
    let _slots: Vec<_> = (0..80).map(|_| connections.watch_slot().unwrap()).collect();
    assert_eq!(connections.clients().watches.len(), 1);
}

#[tokio::test]
async fn mute_server_costs_a_heartbeat_its_deadline_and_no_more() {
    let server = TestServer::start("127.0.0.1", Manner::Mute).await;
    let api = server.api();
    let call = tokio::spawn(async move { api.get_lease().await });
    server.requests(1).await;
    // From here on only timers are left, and the paused clock runs to the first of them.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let error = call.await.unwrap().unwrap_err();
    let text = "lease kube-node-lease/node-1: no answer within 10 s";
    assert_eq!(error, ApiError::Unavailable(text.to_owned()));
    assert!(begun.elapsed() <= HEARTBEAT_DEADLINE);
}

#[tokio::test]
async fn token_is_sent_and_its_file_read() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from-file\n").unwrap();
    let users = ["    token: fixed\n".to_owned(), format!("    tokenFile: {}\n", file.display())];
    for user in users {
        let api = KubeApi::connect(&server.kubeconfig("", &user), "node-1").unwrap();
        api.get_pod("ns", "web").await.unwrap();
    }
    let seen = server.requests(2).await;
    assert_eq!(seen[0].header(AUTHORIZATION), "Bearer fixed");
    assert_eq!(seen[1].header(AUTHORIZATION), "Bearer from-file");
    assert_eq!(seen[0].client_certificates, 0);
}

#[tokio::test]
async fn absent_token_file_is_named() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let kubeconfig = server.kubeconfig("", "    tokenFile: /nonexistent/token\n");
    let api = KubeApi::connect(&kubeconfig, "node-1").unwrap();
    let error = api.get_pod("ns", "web").await.unwrap_err().to_string();
    assert!(error.contains("cannot read token file /nonexistent/token"), "{error}");
}

#[tokio::test]
async fn certificate_of_another_name_is_refused_unless_the_kubeconfig_names_it() {
    let server = TestServer::start("kubernetes.internal", Manner::Friendly).await;
    let user = server.certificate_user();
    let api = KubeApi::connect(&server.kubeconfig("", &user), "node-1").unwrap();
    let error = api.get_pod("ns", "web").await.unwrap_err();
    assert!(
        matches!(&error, ApiError::Unavailable(text) if text.contains("certificate")),
        "{error}"
    );
    let named = server.kubeconfig("    tls-server-name: kubernetes.internal\n", &user);
    let api = KubeApi::connect(&named, "node-1").unwrap();
    api.get_pod("ns", "web").await.unwrap();
}

#[tokio::test]
async fn server_of_another_authority_is_refused() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let mut impostor = TestServer::start("127.0.0.1", Manner::Friendly).await;
    impostor.authority_pem.clone_from(&server.authority_pem);
    let api = impostor.api();
    assert!(matches!(api.get_pod("ns", "web").await, Err(ApiError::Unavailable(_))));
    assert!(impostor.seen.borrow().is_empty());
}

#[tokio::test]
async fn refused_connection_says_so_once() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let api = server.api();
    server.accepting.abort();
    // The port is free once the task that held the listener is gone.
    while !server.accepting.is_finished() {
        tokio::task::yield_now().await;
    }
    let error = api.get_node().await.unwrap_err().to_string();
    assert_eq!(error.matches("refused").count(), 1, "{error}");
    assert!(error.contains("node node-1"), "{error}");
}

#[tokio::test]
async fn deletion_names_the_uid_and_grants_no_grace() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    server.api().delete_finished("ns", "web", &"u1".into()).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&server.requests(1).await[0].body).unwrap();
    assert_eq!(body["gracePeriodSeconds"], 0);
    assert_eq!(body["preconditions"], json!({"uid": "u1"}));
}

#[tokio::test]
async fn created_pod_is_sent_to_its_namespace() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let mut pod = core::Pod::default();
    pod.metadata.namespace = Some("kube-system".to_owned());
    pod.metadata.name = Some("mirror".to_owned());
    server.api().create_pod(&pod).await.unwrap();
    let seen = &server.requests(1).await[0];
    assert_eq!(seen.path, "/api/v1/namespaces/kube-system/pods?");
    assert_eq!(seen.header(http::header::CONTENT_TYPE), "application/json");
}

#[tokio::test]
async fn new_connections_show_the_new_certificate_and_no_request_is_lost() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let [first, second] = server.identities();
    let (identity, shown) = watch::channel(Some(Arc::clone(&first)));
    let kubeconfig = server.kubeconfig("", &server.certificate_user());
    let api = KubeApi::connect_as(&kubeconfig, "node-1", shown.clone(), None).unwrap();
    let following = tokio::spawn(api.clone().follow_identity(shown));
    api.get_lease().await.unwrap();
    let under_way = api.clone();
    let under_way = tokio::spawn(async move { under_way.get_pod("ns", "held").await });
    let before = server.requests(2).await;
    assert!(before.iter().all(|seen| seen.client == first.cert[0].to_vec()));

    identity.send_replace(Some(Arc::clone(&second)));
    let is_new = |seen: &Seen| seen.client == second.cert[0].to_vec();
    // The change travels through a task.
    while !server.seen.borrow().last().is_some_and(is_new) {
        api.get_secret("ns", "x").await.unwrap();
    }
    api.get_lease().await.unwrap();
    let seen = server.seen.borrow().clone();
    assert!(is_new(&seen[seen.len() - 1]));
    // The old heartbeats had nothing under way, so that their connection is closed...
    let (heartbeats, calls) = (before[0].connection, before[1].connection);
    server.open.clone().wait_for(|open| !open.contains(&heartbeats)).await.unwrap();
    // ...and that of the calls is open until the last one has its answer.
    assert!(server.open.borrow().contains(&calls));
    assert!(!under_way.is_finished());
    api.get_secret("ns", "release").await.unwrap();
    under_way.await.unwrap().unwrap();
    server.open.clone().wait_for(|open| !open.contains(&calls)).await.unwrap();
    assert!(!following.is_finished());
    following.abort();
}

#[tokio::test]
async fn requests_are_counted_by_code_method_and_server() {
    let server = TestServer::start("127.0.0.1", Manner::Friendly).await;
    let (kubernetes_version, own_version) = Default::default();
    let metrics = NodeMetrics::new("node-1", &BuildFacts { kubernetes_version, own_version });
    let kubeconfig = server.kubeconfig("", &server.certificate_user());
    let (_identity, shown) = watch::channel(kubeconfig.certified_key().unwrap());
    let counted = Some(metrics.api.clone());
    let api = KubeApi::connect_as(&kubeconfig, "node-1", shown, counted).unwrap();
    api.get_pod("ns", "web").await.unwrap();
    api.get_lease().await.unwrap();
    let host = format!("127.0.0.1:{}", server.address.port());
    drop(server);
    while api.get_node().await.is_ok() {}
    let page = metrics.page(&NodeCounts::default(), jiff::Timestamp::UNIX_EPOCH);
    for (code, count) in [("200", 2), ("<error>", 1)] {
        let line = format!(
            "rest_client_requests_total{{code=\"{code}\",host=\"{host}\",method=\"GET\"}} {count}"
        );
        assert!(page.contains(&line), "{line}\n{page}");
    }
}

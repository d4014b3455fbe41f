//! Against servers on the loopback interface.

use std::sync::{Arc, Mutex};

use cri_proto::grpc::health::v1::health_check_response::ServingStatus;
use cri_proto::grpc::health::v1::health_server::{Health, HealthServer};
use cri_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};
use tower::ServiceExt;

use super::*;
use crate::boundary::HttpScheme;

const SECONDS: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);
const HOST: &str = "127.0.0.1";

/// A server that answers each connection with a text of its own; the last one is repeated.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    async fn new(answers: &[&str]) -> Self {
        Self::start(answers, None).await
    }

    async fn start(answers: &[&str], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((HOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut answers: Vec<String> = answers.iter().map(|a| (*a).to_owned()).collect();
        answers.reverse();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = match answers.len() {
                    1 => answers[0].clone(),
                    _ => answers.pop().unwrap(),
                };
                let request = match &tls {
                    None => serve(stream, &answer).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, &answer).await,
                        Err(_) => continue,
                    },
                };
                seen.lock().unwrap().push(request);
            }
        });
        Self { port, requests, _task: task }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn call(&self, path: &str) -> HttpCall {
        let headers = vec![("User-Agent".to_owned(), "test".to_owned())];
        let (scheme, host) = (HttpScheme::Http, HOST.to_owned());
        HttpCall { scheme, host, port: self.port, path: path.to_owned(), headers }
    }
}

/// Reads a request's head, answers and closes. The answer `hang` is none.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    let (answer, hangs) = match answer.strip_suffix("hang") {
        Some(begun) => (begun, true),
        None => (answer, false),
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.flush().await;
    if hangs {
        let _ = stream.read(&mut [0]).await;
    }
    let _ = stream.shutdown().await;
    String::from_utf8(head).unwrap()
}

fn dialer() -> LinuxDialer {
    LinuxDialer::new("kube-probe/test")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn redirect(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// A port nobody listens on.
async fn dead_port() -> u16 {
    TcpListener::bind((HOST, 0)).await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn request_is_one_of_its_own_with_the_callers_headers() {
    let server = Server::new(&[&ok("fine")]).await;
    let mut call = server.call("/x?y=1");
    call.headers.push(("X-Two".to_owned(), "1".to_owned()));
    call.headers.push(("X-Two".to_owned(), "2".to_owned()));
    let answer = dialer().http(&call, SECONDS).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"fine".as_slice()));
    let expected = format!(
        "GET /x?y=1 HTTP/1.1\r\nUser-Agent: test\r\nX-Two: 1\r\nX-Two: 2\r\nHost: 127.0.0.1:{}\r\n\
         Connection: close\r\n\r\n",
        server.port
    );
    assert_eq!(server.requests(), [expected]);
}

#[tokio::test]
async fn host_header_of_the_caller_wins_and_survives_a_relative_redirect() {
    let server = Server::new(&[&redirect("/next"), &ok("")]).await;
    let mut call = server.call("/");
    call.headers.push(("host".to_owned(), "shop.example".to_owned()));
    assert_eq!(dialer().http(&call, SECONDS).await.unwrap().status, 200);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|head| head.contains("Host: shop.example\r\n")), "{requests:?}");
    assert!(requests[1].starts_with("GET /next HTTP/1.1"), "{requests:?}");
}

#[tokio::test]
async fn redirect_that_leaves_the_host_is_not_followed() {
    let server = Server::new(&[&redirect("http://192.0.2.1/away")]).await;
    let answer = dialer().http(&server.call("/"), SECONDS).await.unwrap();
    assert_eq!(answer.status, 302);
    assert_eq!(answer.left_for.as_deref(), Some("http://192.0.2.1/away"));
}

#[tokio::test]
async fn endless_redirects_are_given_up() {
    let server = Server::new(&[&redirect("/again")]).await;
    let error = dialer().http(&server.call("/"), SECONDS).await.unwrap_err();
    assert_eq!(error.to_string(), "stopped after 10 redirects");
    assert_eq!(server.requests().len(), 11);
}

#[tokio::test]
async fn only_the_beginning_of_a_body_is_read() {
    let endless = format!("HTTP/1.1 500 Oops\r\n\r\n{}hang", "x".repeat(20_000));
    let server = Server::new(&[&endless]).await;
    let answer = dialer().http(&server.call("/"), SECONDS).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (500, 10 * 1024));
}

#[tokio::test]
async fn server_that_says_nothing_times_out() {
    let server = Server::new(&["hang"]).await;
    let error = dialer().http(&server.call("/"), SHORT).await.unwrap_err();
    let text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(error, DialError::TimedOut(text.to_owned()));
}

#[tokio::test]
async fn body_that_does_not_come_is_no_failure_of_the_head() {
    let server = Server::new(&["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhang"]).await;
    let error = dialer().http(&server.call("/"), SHORT).await.unwrap_err();
    assert!(matches!(error, DialError::BodyLost(_)), "{error:?}");
}

#[tokio::test]
async fn server_that_hangs_up_is_told_as_such() {
    let server = Server::new(&[""]).await;
    let error = dialer().http(&server.call("/"), SECONDS).await.unwrap_err();
    assert_eq!(error, DialError::Failed("EOF".to_owned()));
}

#[tokio::test]
async fn refused_connection_is_told_in_gos_words() {
    let port = dead_port().await;
    let text = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    let expected = DialError::Refused(text.clone());
    assert_eq!(dialer().tcp(HOST, port, SECONDS).await, Err(expected));
    let grpc = dialer().grpc_health(HOST, port, "", SECONDS).await.unwrap_err();
    let text = format!("error: failed to connect service at \"127.0.0.1:{port}\": {text}");
    assert_eq!(grpc, DialError::Refused(text));
}

#[tokio::test]
async fn tcp_connection_is_closed_at_once() {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    dialer().tcp(HOST, port, SECONDS).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// A server for `nobody.example` that no authority vouches for.
fn acceptor(protocols: &[&[u8]]) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["nobody.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn https_asks_whoever_answers() {
    let server = Server::start(&[&ok("secret")], Some(acceptor(&[]))).await;
    let call = HttpCall { scheme: HttpScheme::Https, ..server.call("/") };
    let answer = dialer().http(&call, SECONDS).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"secret".as_slice()));
}

#[tokio::test]
async fn https_speaks_http2_with_servers_that_do() {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor(&[b"h2"]);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let io = hyper_util::rt::TokioIo::new(acceptor.accept(stream).await.unwrap());
        let service = hyper::service::service_fn(|request: ::http::Request<_>| async move {
            let _: ::http::Request<hyper::body::Incoming> = request;
            Ok::<_, std::convert::Infallible>(::http::Response::new("two".to_owned()))
        });
        let executor = hyper_util::rt::TokioExecutor::new();
        let serving = hyper::server::conn::http2::Builder::new(executor);
        let _ = serving.serve_connection(io, service).await;
    });
    let (scheme, host, path) = (HttpScheme::Https, HOST.to_owned(), "/".to_owned());
    let call = HttpCall { scheme, host, port, path, headers: Vec::new() };
    assert_eq!(dialer().http(&call, SECONDS).await.unwrap().body, b"two");
}

#[tokio::test]
async fn plain_http_server_is_known_by_its_answer() {
    let bad = "HTTP/1.0 400 Bad Request\r\n\r\n";
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 512];
        let _ = stream.read(&mut hello).await;
        let _ = stream.write_all(bad.as_bytes()).await;
        let _ = stream.read(&mut hello).await;
    });
    let (scheme, host, path) = (HttpScheme::Https, HOST.to_owned(), "/".to_owned());
    let call = HttpCall { scheme, host, port, path, headers: Vec::new() };
    assert_eq!(dialer().http(&call, SECONDS).await, Err(DialError::PlainHttp));
}

struct Named;

#[tonic::async_trait]
impl Health for Named {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let agent = request.metadata().get("user-agent").unwrap().to_str().unwrap();
        assert!(agent.starts_with("kube-probe/test"), "{agent}");
        let status = match request.into_inner().service.as_str() {
            "" => ServingStatus::Serving,
            "tired" => ServingStatus::NotServing,
            "slow" => std::future::pending().await,
            _ => return Err(Status::not_found("unknown service")),
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }
}

#[tokio::test]
async fn grpc_health_is_asked_for_the_service() {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|request| {
                let request: ::http::Request<hyper::body::Incoming> = request;
                HealthServer::new(Named).oneshot(request)
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let serving = hyper::server::conn::http2::Builder::new(executor);
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(async move { drop(serving.serve_connection(io, service).await) });
        }
    });
    let dialer = dialer();
    let ask = |service: &'static str, timeout| dialer.grpc_health(HOST, port, service, timeout);
    assert_eq!(ask("", SECONDS).await, Ok(GrpcHealth::Serving));
    assert_eq!(ask("tired", SECONDS).await, Ok(GrpcHealth::Other(2)));
    let unknown = "error: health rpc probe failed: rpc error: code = NotFound desc = unknown \
                   service";
    assert_eq!(ask("other", SECONDS).await, Err(DialError::Failed(unknown.to_owned())));
    let late = ask("slow", Duration::from_secs(1)).await.unwrap_err();
    let text = "timeout: health rpc did not complete within 1s".to_owned();
    assert_eq!(late, DialError::TimedOut(text));
}

//! Connections to the API server: transport, shards, deadlines.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderValue};
use http_body_util::BodyExt;
use kube::client::Body;
use rustls::ClientConfig;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};

use super::error::{api_error, innermost_text, undecodable};
use super::kubeconfig::{Bearer, Kubeconfig};
use crate::boundary::ApiError;
use crate::metrics::ApiMetrics;

mod tls;

pub use tls::Identity;
pub(in crate::adapters) use tls::system_authorities;
use tls::tls_config;

/// Deadline of a Lease or Node call: one renewal interval of the Lease (kubelet default, v1.36),
/// so that a lost call never costs two.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(10);
/// Deadline of any other call; half of what API servers grant a request by default (60 s).
pub(super) const PLAIN_DEADLINE: Duration = Duration::from_secs(30);
/// A connection that was silent for so long is asked for a sign of life...
const PING_AFTER: Duration = Duration::from_secs(20);
/// ...and given up when none comes for so long: 30 s in all, the read-idle time of client-go v1.36.
const PING_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Streams per watch connection. API servers allow 100 at a time by default in front of proxies
/// and 250 by themselves; the rest is room for watches that are just being reopened.
const WATCHES_PER_CONNECTION: usize = 80;
/// How long a token read from a file is used before the file is read again (client-go: 1 min).
const TOKEN_AGE: Duration = Duration::from_secs(60);

/// Why no connection can be prepared from a kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the client certificate and key, or the authorities, of the kubeconfig are not usable")]
    Tls(#[source] rustls::Error),
    #[error(
        "no certificate authority to trust: set certificate-authority in the kubeconfig or install \
         the system's certificates"
    )]
    NoAuthorities,
    #[error("the proxy-url of the kubeconfig is not usable")]
    Proxy(#[source] reqwest::Error),
    #[error("cannot set up the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// A client and the number of watches it still has room for.
struct WatchShard {
    client: kube::Client,
    room: Arc<Semaphore>,
}

/// Room for one watch on a connection; gives it back when dropped.
pub(super) struct WatchSlot {
    pub(super) client: kube::Client,
    _room: OwnedSemaphorePermit,
    retired: CancellationToken,
}

impl WatchSlot {
    /// Returns once the connection is no longer to be used for anything new. A watch that can go
    /// on from where it is should then do so on another one. Cancel safe.
    pub(super) async fn retired(&self) {
        self.retired.cancelled().await;
    }
}

/// Makes one more connection's client.
type BuildClient = Box<dyn Fn() -> Result<kube::Client, ConnectError> + Send + Sync>;

/// All connections to one API server under one credential.
pub(super) struct Connections {
    build: BuildClient,
    clients: Mutex<Clients>,
}

/// Clients that show the same certificate.
struct Clients {
    heartbeats: kube::Client,
    plain: kube::Client,
    watches: Vec<WatchShard>,
    /// Cancelled when others take their place.
    retired: CancellationToken,
}

impl Clients {
    fn new(build: &BuildClient) -> Result<Self, ConnectError> {
        let (heartbeats, plain) = (build()?, build()?);
        Ok(Self { heartbeats, plain, watches: Vec::new(), retired: CancellationToken::new() })
    }
}

impl Connections {
    /// Each new connection shows the certificate that `identity` holds then. `metrics` counts the
    /// requests.
    pub(super) fn new(
        kubeconfig: &Kubeconfig,
        identity: Identity,
        metrics: Option<ApiMetrics>,
    ) -> Result<Self, ConnectError> {
        let recipe = ClientRecipe::new(kubeconfig, identity, metrics)?;
        Self::from_clients(Box::new(move || recipe.build()))
    }

    /// The same over clients made elsewhere.
    pub(super) fn from_clients(build: BuildClient) -> Result<Self, ConnectError> {
        Ok(Self { clients: Mutex::new(Clients::new(&build)?), build })
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everything new go over new connections. What is under way on the old ones goes on to
    /// its end there, and the last of it closes them; watches are told to move.
    pub(super) fn renew(&self) -> Result<(), ConnectError> {
        let fresh = Clients::new(&self.build)?;
        let old = std::mem::replace(&mut *self.clients(), fresh);
        old.retired.cancel();
        Ok(())
    }

    /// One call outside the heartbeats.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        object: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ApiError> {
        let client = self.clients().plain.clone();
        call(&client, PLAIN_DEADLINE, object, request).await
    }

    /// One call about the Lease or the Node.
    pub(super) async fn heartbeat<T: DeserializeOwned>(
        &self,
        object: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ApiError> {
        let client = self.clients().heartbeats.clone();
        call(&client, HEARTBEAT_DEADLINE, object, request).await
    }

    /// Room for one watch, on a new connection when all others are full.
    pub(super) fn watch_slot(&self) -> Result<WatchSlot, ConnectError> {
        let mut clients = self.clients();
        let retired = clients.retired.clone();
        for shard in &clients.watches {
            if let Ok(room) = Arc::clone(&shard.room).try_acquire_owned() {
                return Ok(WatchSlot { client: shard.client.clone(), _room: room, retired });
            }
        }
        let client = (self.build)()?;
        let room = Arc::new(Semaphore::new(WATCHES_PER_CONNECTION));
        let permit = Arc::clone(&room)
            .try_acquire_owned()
            .expect("a semaphore made on the line above has all its permits");
        clients.watches.push(WatchShard { client: client.clone(), room });
        Ok(WatchSlot { client, _room: permit, retired })
    }
}

pub(super) async fn call<T: DeserializeOwned>(
    client: &kube::Client,
    deadline: Duration,
    object: &str,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<T, ApiError> {
    let mut request =
        request.map_err(|error| api_error(object, &kube::Error::BuildRequest(error)))?;
    request
        .headers_mut()
        .insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    // `request_text` and not `request`: the latter logs a body it cannot decode.
    let text = match tokio::time::timeout(deadline, client.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| api_error(object, &error))?,
        Err(_) => {
            let seconds = deadline.as_secs();
            return Err(ApiError::Unavailable(format!("{object}: no answer within {seconds} s")));
        }
    };
    serde_json::from_str(&text).map_err(|error| ApiError::Unavailable(undecodable(object, &error)))
}

/// What every connection is built from.
struct ClientRecipe {
    tls: ClientConfig,
    server: Arc<str>,
    /// Host to connect to when `server` names the certificate's host instead.
    real_host: Option<String>,
    proxy: Option<reqwest::Proxy>,
    token: Arc<TokenSource>,
    metrics: Option<ApiMetrics>,
}

impl ClientRecipe {
    fn new(
        kubeconfig: &Kubeconfig,
        identity: Identity,
        metrics: Option<ApiMetrics>,
    ) -> Result<Self, ConnectError> {
        let (server, real_host) = endpoint(kubeconfig);
        let proxy = kubeconfig.proxy_url.as_deref().map(reqwest::Proxy::all).transpose();
        Ok(Self {
            tls: tls_config(kubeconfig, identity)?,
            server: server.into(),
            real_host,
            proxy: proxy.map_err(|error| ConnectError::Proxy(error.without_url()))?,
            token: Arc::new(TokenSource::new(kubeconfig.bearer.clone())),
            metrics,
        })
    }

    fn build(&self) -> Result<kube::Client, ConnectError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .user_agent(concat!("noded/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_DEADLINE)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_DEADLINE)
            .http2_keep_alive_while_idle(true)
            // A redirect could carry the token to another host.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(host) = &self.real_host {
            builder = builder.dns_resolver(Arc::new(FixedHost(host.as_str().into())));
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        }
        let transport = Transport {
            http: builder.build().map_err(ConnectError::Http)?,
            server: Arc::clone(&self.server),
            token: Arc::clone(&self.token),
            metrics: self.metrics.clone(),
        };
        Ok(kube::Client::new(transport, "default"))
    }
}

/// The address to put into requests and, when `tls-server-name` differs from the host, the host to
/// connect to. The address then carries the certificate's name, which gives both the right SNI and
/// the right check.
fn endpoint(kubeconfig: &Kubeconfig) -> (String, Option<String>) {
    let server = kubeconfig.server.clone();
    let Some(name) = &kubeconfig.tls_server_name else { return (server, None) };
    let Ok(mut url) = reqwest::Url::parse(&server) else { return (server, None) };
    let Some(host) = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()) else {
        return (server, None);
    };
    if url.set_host(Some(name)).is_err() {
        return (server, None);
    }
    (url.as_str().trim_end_matches('/').to_owned(), Some(host))
}

/// Resolves every name to the addresses of one host.
struct FixedHost(Arc<str>);

impl reqwest::dns::Resolve for FixedHost {
    fn resolve(&self, _name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let host = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses: Vec<_> = tokio::net::lookup_host((&*host, 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// The bearer token, read again from its file once a minute.
struct TokenSource {
    bearer: Option<Bearer>,
    cached: Mutex<Option<(Instant, HeaderValue)>>,
}

#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("cannot read token file {file}")]
    Read { file: PathBuf, source: std::io::Error },
    #[error("the bearer token is empty or holds characters no HTTP header may hold")]
    Unusable,
}

impl TokenSource {
    fn new(bearer: Option<Bearer>) -> Self {
        Self { bearer, cached: Mutex::new(None) }
    }

    /// The header to send; `None` when the credential is not a token. When the file cannot be read
    /// the last good token is used on, as client-go does.
    fn header(&self) -> Result<Option<HeaderValue>, TokenError> {
        let file = match &self.bearer {
            None => return Ok(None),
            Some(Bearer::Fixed(token)) => return bearer_header(token.expose()).map(Some),
            Some(Bearer::File(file)) => file,
        };
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, header)) = &*cached
            && read_at.elapsed() < TOKEN_AGE
        {
            return Ok(Some(header.clone()));
        }
        match (read_token(file), &*cached) {
            (Ok(header), _) => {
                *cached = Some((Instant::now(), header.clone()));
                Ok(Some(header))
            }
            (Err(_), Some((_, last_good))) => Ok(Some(last_good.clone())),
            (Err(error), None) => Err(error),
        }
    }
}

/// One small local file once a minute; not worth a thread of the blocking pool.
fn read_token(file: &Path) -> Result<HeaderValue, TokenError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| TokenError::Read { file: file.to_owned(), source })?;
    bearer_header(text.trim())
}

fn bearer_header(token: &str) -> Result<HeaderValue, TokenError> {
    if token.is_empty() {
        return Err(TokenError::Unusable);
    }
    let mut header =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| TokenError::Unusable)?;
    header.set_sensitive(true);
    Ok(header)
}

/// The tower service `kube::Client` sends its requests through: one HTTP/2 connection.
#[derive(Clone)]
struct Transport {
    http: reqwest::Client,
    server: Arc<str>,
    token: Arc<TokenSource>,
    metrics: Option<ApiMetrics>,
}

impl Transport {
    /// Sends a request and counts it, whether it is answered or not.
    async fn send(&self, request: reqwest::Request) -> Result<reqwest::Response, TransportError> {
        let began = tokio::time::Instant::now();
        let (method, url) = (request.method().clone(), request.url().clone());
        let answer = self.http.execute(request).await;
        if let Some(metrics) = &self.metrics {
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            // The host with its port, where that is not the usual one.
            metrics.answered(code, method.as_str(), url.authority(), began);
        }
        answer.map_err(|error| TransportError(innermost_text(&error.without_url())))
    }
}

/// A connection-level failure; its text already names the cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TransportError(String);

impl Service<http::Request<Body>> for Transport {
    type Response = http::Response<reqwest::Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let url = reqwest::Url::parse(&format!("{}{path}", this.server))?;
            let mut outgoing = reqwest::Request::new(parts.method, url);
            *outgoing.headers_mut() = parts.headers;
            if let Some(token) = this.token.header()? {
                outgoing.headers_mut().insert(AUTHORIZATION, token);
            }
            let body = body.collect().await?.to_bytes();
            if !body.is_empty() {
                *outgoing.body_mut() = Some(body.into());
            }
            Ok(this.send(outgoing).await?.into())
        })
    }
}

#[cfg(test)]
mod tests;

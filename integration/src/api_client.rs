//! A small client of the API server: JSON in, JSON out, and watches that note arrival times.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Certificate, Client, Method, Response, StatusCode};
use serde_json::Value;

use crate::pki::{Identity, Pki};
use crate::resource;
use crate::watch::Watch;

/// A call that answers later than this has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// The API server refused a call.
#[derive(Debug)]
pub struct Refused {
    /// HTTP status.
    pub status: StatusCode,
    /// The message of the answer's Status object, or its text.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.message)
    }
}

impl std::error::Error for Refused {}

/// The body of a request.
enum Body<'a> {
    Empty,
    Json(&'a Value),
    Patch(&'static str, &'a Value),
}

/// Calls the API server as one identity. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiClient {
    client: Client,
    server: Arc<str>,
}

impl ApiClient {
    /// A client of a cluster's API server with a certificate of this identity.
    pub fn new(pki: &Pki, identity: Identity<'_>) -> Result<Self> {
        // Fails only when a provider is there already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let pair = pki.authority().client(identity)?;
        let pem = format!("{}{}", pair.certificate, pair.key);
        let client = Client::builder()
            .tls_certs_only([Certificate::from_pem(pki.authority().certificate().as_bytes())?])
            .identity(reqwest::Identity::from_pem(pem.as_bytes())?)
            .no_proxy()
            .build()
            .context("cannot make an HTTPS client")?;
        Ok(Self { client, server: pki.server().into() })
    }

    async fn call(&self, method: Method, path: &str, body: Body<'_>) -> Result<Vec<u8>> {
        let mut request =
            self.client.request(method.clone(), format!("{}{path}", self.server)).timeout(DEADLINE);
        request = match body {
            Body::Empty => request,
            Body::Json(value) => request.json(value),
            Body::Patch(kind, value) => {
                request.header("content-type", kind).body(serde_json::to_vec(value)?)
            }
        };
        let response = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = response.status();
        let content = response.bytes().await.with_context(|| format!("{method} {path}"))?;
        if !status.is_success() {
            return Err(
                anyhow::Error::new(refusal(status, &content)).context(format!("{method} {path}"))
            );
        }
        Ok(content.to_vec())
    }

    async fn call_json(&self, method: Method, path: &str, body: Body<'_>) -> Result<Value> {
        let content = self.call(method, path, body).await?;
        serde_json::from_slice(&content).with_context(|| format!("answer to {path}"))
    }

    /// The text at a path, such as `/readyz`.
    pub async fn get_text(&self, path: &str) -> Result<String> {
        let content = self.call(Method::GET, path, Body::Empty).await?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    /// The answer at a path that comes bit by bit, such as a log that is followed.
    pub async fn open(&self, path: &str) -> Result<reqwest::Response> {
        let url = format!("{}{path}", self.server);
        let response = self.client.get(url).send().await.with_context(|| path.to_owned())?;
        let status = response.status();
        if !status.is_success() {
            let content = response.bytes().await.unwrap_or_default();
            return Err(anyhow::Error::new(refusal(status, &content)).context(path.to_owned()));
        }
        Ok(response)
    }

    /// The object or list at a path, such as `/api/v1/nodes/a`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call_json(Method::GET, path, Body::Empty).await
    }

    /// The object at a path, `None` when there is none.
    pub async fn find(&self, path: &str) -> Result<Option<Value>> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_status(&error, StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The items of the list at a path.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut list = self.get(path).await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            Value::Null => Ok(Vec::new()),
            other => bail!("{path} is no list: {other}"),
        }
    }

    /// Creates an object; its path follows from its `apiVersion`, `kind` and namespace.
    pub async fn create(&self, object: &Value) -> Result<Value> {
        let path = resource::collection_of(object)?;
        self.call_json(Method::POST, &path, Body::Json(object)).await
    }

    /// Creates an object at a path, for subresources such as `binding` and `eviction`.
    pub async fn create_at(&self, path: &str, object: &Value) -> Result<Value> {
        self.call_json(Method::POST, path, Body::Json(object)).await
    }

    /// Replaces the object at a path.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value> {
        self.call_json(Method::PUT, path, Body::Json(object)).await
    }

    /// Applies a JSON merge patch to the object at a path.
    pub async fn merge_patch(&self, path: &str, patch: &Value) -> Result<Value> {
        let body = Body::Patch("application/merge-patch+json", patch);
        self.call_json(Method::PATCH, path, body).await
    }

    /// Applies a strategic merge patch to the object at a path.
    pub async fn strategic_patch(&self, path: &str, patch: &Value) -> Result<Value> {
        let body = Body::Patch("application/strategic-merge-patch+json", patch);
        self.call_json(Method::PATCH, path, body).await
    }

    /// Deletes the object at a path. One that is not there counts as deleted.
    pub async fn delete(&self, path: &str) -> Result<()> {
        match self.call(Method::DELETE, path, Body::Empty).await {
            Err(error) if !is_status(&error, StatusCode::NOT_FOUND) => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes a pod without waiting for its node.
    pub async fn force_delete(&self, path: &str) -> Result<()> {
        self.delete(&format!("{path}?gracePeriodSeconds=0")).await
    }

    /// Watches a collection from now on. Objects that exist arrive as `ADDED` first.
    ///
    /// `path` may carry selectors, such as `/api/v1/pods?fieldSelector=spec.nodeName%3Da`.
    pub async fn watch(&self, path: &str) -> Result<Watch> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}{path}{joint}watch=1", self.server);
        let client = self.client.clone();
        let response = open_watch(&client, &url).await?;
        Ok(Watch::follow(response, move |version| {
            let (client, url) = (client.clone(), format!("{url}&resourceVersion={version}"));
            async move { open_watch(&client, &url).await }
        }))
    }
}

async fn open_watch(client: &Client, url: &str) -> Result<Response> {
    let response = client.get(url).send().await.with_context(|| format!("watch {url}"))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let content = response.bytes().await.unwrap_or_default();
    Err(anyhow::Error::new(refusal(status, &content)).context(format!("watch {url}")))
}

fn refusal(status: StatusCode, content: &[u8]) -> Refused {
    let answer: Option<Value> = serde_json::from_slice(content).ok();
    let message = answer
        .and_then(|answer| answer["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(content).into_owned());
    Refused { status, message }
}

/// Whether an error is the API server's answer with this status.
#[must_use]
pub fn is_status(error: &anyhow::Error, status: StatusCode) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == status)
}

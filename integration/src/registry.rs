//! A container registry in the tests' own process: serves one image of the ground over plain
//! HTTP under any name, and notes what it was asked for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::daemon::output;
use crate::netns::CONTROL_PLANE;

/// Longest request head that is read. containerd sends less than one kilobyte.
const HEAD_LIMIT: usize = 16 * 1024;

/// A running registry on the control plane's address. Dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    content: Arc<Content>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Content {
    /// Blobs and the manifest by digest.
    blobs: HashMap<String, Vec<u8>>,
    manifest: String,
    media_type: String,
    /// Value of `Authorization` that is asked for.
    credential: Option<String>,
    requests: Mutex<Vec<String>>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    /// Serves the image of an archive, for those who know user and password if there are any.
    pub async fn start(archive: &Path, login: Option<(&str, &str)>) -> Result<Self> {
        let read = |path: &str| {
            let mut tar = Command::new("tar");
            tar.arg("--extract").arg("--to-stdout").arg("--file").arg(archive).arg(path);
            tar
        };
        let index: Value = serde_json::from_str(&output(&mut read("index.json"))?)?;
        let entry = &index["manifests"][0];
        let digest = entry["digest"].as_str().context("no digest in the index")?.to_owned();
        let media_type = entry["mediaType"].as_str().context("no media type")?.to_owned();
        let mut blobs = HashMap::new();
        let listing = output(Command::new("tar").arg("--list").arg("--file").arg(archive))?;
        for name in listing.lines().filter_map(|line| line.strip_prefix("blobs/sha256/")) {
            if !name.is_empty() {
                let blob = read(&format!("blobs/sha256/{name}")).output()?.stdout;
                blobs.insert(format!("sha256:{name}"), blob);
            }
        }
        let credential = login.map(|(user, password)| {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        });
        let content = Arc::new(Content {
            blobs,
            manifest: digest,
            media_type,
            credential,
            requests: Mutex::default(),
        });
        let listener = TcpListener::bind((CONTROL_PLANE, 0)).await?;
        let address = listener.local_addr()?;
        let served = Arc::clone(&content);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                // A client that goes away early has no answer to miss.
                tokio::spawn(async move { drop(answer(stream, &served).await) });
            }
        });
        Ok(Self { address, content, task })
    }

    /// Host and port, the first part of an image's name.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often a manifest was asked for by somebody with the credential.
    #[must_use]
    pub fn manifest_requests(&self) -> usize {
        let requests = self.content.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|path| path.contains("/manifests/")).count()
    }
}

async fn answer(mut stream: TcpStream, content: &Content) -> Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|part| part == b"\r\n\r\n") && head.len() < HEAD_LIMIT {
        let mut part = [0; 1024];
        let length = stream.read(&mut part).await?;
        if length == 0 {
            return Ok(());
        }
        head.extend_from_slice(&part[..length]);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let given = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.trim())
    });
    let (status, headers, body) =
        if content.credential.is_some() && given != content.credential.as_deref() {
            ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"test\"\r\n".to_owned(), &[][..])
        } else {
            content.requests.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
            content.find(path)
        };
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if method != "HEAD" {
        stream.write_all(body).await?;
    }
    stream.shutdown().await?;
    Ok(())
}

impl Content {
    /// Status, headers and body for a path of the distribution API. Any name and tag is the one
    /// image there is, but for tags that start with `no-`.
    fn find(&self, path: &str) -> (&'static str, String, &[u8]) {
        let kind = |media_type: &str, digest: &str| {
            format!("Content-Type: {media_type}\r\nDocker-Content-Digest: {digest}\r\n")
        };
        if let Some((_, reference)) = path.split_once("/manifests/") {
            let digest = if reference.starts_with("sha256:") { reference } else { &self.manifest };
            if let Some(blob) = self.blobs.get(digest).filter(|_| !reference.starts_with("no-")) {
                return ("200 OK", kind(&self.media_type, digest), blob);
            }
        } else if let Some((_, digest)) = path.split_once("/blobs/") {
            if let Some(blob) = self.blobs.get(digest) {
                return ("200 OK", kind("application/octet-stream", digest), blob);
            }
        } else if path == "/v2/" {
            return ("200 OK", String::new(), b"{}");
        }
        ("404 Not Found", "Content-Type: application/json\r\n".to_owned(), b"{\"errors\":[]}")
    }
}

//! A container registry in the tests' own process: serves one image of the ground over plain
//! HTTP under any name, and notes what it was asked for.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::daemon::output;
use crate::netns::CONTROL_PLANE;

/// Longest request head that is read. containerd sends less than one kilobyte.
const HEAD_LIMIT: usize = 16 * 1024;

/// Bytes of a slow answer that are sent at once.
const SLOW_PART: usize = 16 * 1024;

/// A running registry on the control plane's address. Dropping it ends it.
///
/// Its image has the layers of the archive's and an identity of its own, so that no test meets
/// what a node knows of an image that another test pulled or imported.
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
    bytes_per_second: Option<u32>,
    /// While true no blob is answered with.
    held: watch::Sender<bool>,
    requests: Mutex<Vec<String>>,
}

/// How a registry answers. The default is everybody and at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryOptions<'a> {
    /// User and password that are asked for.
    pub login: Option<(&'a str, &'a str)>,
    /// Speed of each blob that is sent.
    pub bytes_per_second: Option<u32>,
    /// User in the image's configuration.
    pub user: Option<&'a str>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    /// Serves the image of an archive, for those who know user and password if there are any.
    pub async fn start(archive: &Path, login: Option<(&str, &str)>) -> Result<Self> {
        Self::serve(archive, RegistryOptions { login, ..RegistryOptions::default() }).await
    }

    /// Serves the image of an archive.
    pub async fn serve(archive: &Path, options: RegistryOptions<'_>) -> Result<Self> {
        let listener = TcpListener::bind((CONTROL_PLANE, 0)).await?;
        let address = listener.local_addr()?;
        let image = read_archive(archive, &address.to_string(), options.user)?;
        let credential = options.login.map(|(user, password)| {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        });
        let content = Arc::new(Content {
            blobs: image.blobs,
            manifest: image.manifest,
            media_type: image.media_type,
            credential,
            bytes_per_second: options.bytes_per_second,
            held: watch::Sender::new(false),
            requests: Mutex::default(),
        });
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
        self.requests().iter().filter(|path| path.contains("/manifests/")).count()
    }

    /// Repositories of which somebody with the credential wanted a blob.
    #[must_use]
    pub fn fetched(&self) -> BTreeSet<String> {
        let requests = self.requests();
        let name = |path: &String| Some(path.strip_prefix("/v2/")?.split_once("/blobs/")?.0.into());
        requests.iter().filter_map(name).collect()
    }

    /// From now on blobs are answered with only after [`Self::release_blobs`].
    pub fn hold_blobs(&self) {
        self.content.held.send_replace(true);
    }

    /// Ends [`Self::hold_blobs`].
    pub fn release_blobs(&self) {
        self.content.held.send_replace(false);
    }

    fn requests(&self) -> MutexGuard<'_, Vec<String>> {
        self.content.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Image {
    blobs: HashMap<String, Vec<u8>>,
    manifest: String,
    media_type: String,
}

/// The image of an archive with `mark`, and `user` if there is one, written into its configuration.
fn read_archive(archive: &Path, mark: &str, user: Option<&str>) -> Result<Image> {
    let read = |path: &str| {
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--to-stdout").arg("--file").arg(archive).arg(path);
        tar
    };
    let index: Value = serde_json::from_str(&output(&mut read("index.json"))?)?;
    let entry = &index["manifests"][0];
    let media_type = entry["mediaType"].as_str().context("no media type")?.to_owned();
    let mut blobs = HashMap::new();
    let listing = output(Command::new("tar").arg("--list").arg("--file").arg(archive))?;
    for name in listing.lines().filter_map(|line| line.strip_prefix("blobs/sha256/")) {
        if !name.is_empty() {
            let blob = read(&format!("blobs/sha256/{name}")).output()?.stdout;
            blobs.insert(format!("sha256:{name}"), blob);
        }
    }
    let find = |digest: &Value| -> Result<Value> {
        let blob = digest.as_str().and_then(|digest| blobs.get(digest));
        Ok(serde_json::from_slice(blob.context("a blob is missing")?)?)
    };
    let mut manifest = find(&entry["digest"])?;
    let mut config = find(&manifest["config"]["digest"])?;
    config["author"] = mark.into();
    if let Some(user) = user {
        config["config"]["User"] = user.into();
    }
    let config = serde_json::to_vec(&config)?;
    manifest["config"]["digest"] = digest_of(&config).into();
    manifest["config"]["size"] = config.len().into();
    let manifest = serde_json::to_vec(&manifest)?;
    let name = digest_of(&manifest);
    blobs.extend([config, manifest].map(|blob| (digest_of(&blob), blob)));
    Ok(Image { blobs, manifest: name, media_type })
}

fn digest_of(blob: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, blob);
    hash.as_ref().iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
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
    let is_blob = path.contains("/blobs/");
    if is_blob {
        let _ = content.held.subscribe().wait_for(|held| !held).await;
    }
    stream.write_all(head.as_bytes()).await?;
    match content.bytes_per_second.filter(|_| is_blob) {
        _ if method == "HEAD" => {}
        None => stream.write_all(body).await?,
        Some(speed) => send_slowly(&mut stream, body, speed).await?,
    }
    stream.shutdown().await?;
    Ok(())
}

/// Sends with this many bytes per second.
async fn send_slowly(stream: &mut TcpStream, body: &[u8], speed: u32) -> Result<()> {
    for part in body.chunks(SLOW_PART) {
        stream.write_all(part).await?;
        let share = u32::try_from(part.len())?;
        tokio::time::sleep(Duration::from_secs(1) * share / speed).await;
    }
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

//! containerd's content store, on the socket of CRI: what of an image has been downloaded.

use std::time::Duration;

use async_trait::async_trait;
use cri_proto::containerd::services::content::v1::content_client::ContentClient;
use cri_proto::containerd::services::content::v1::{
    Info, InfoRequest, ListContentRequest, ListStatusesRequest, ReadContentRequest,
};
use serde::Deserialize;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::client::lazy_channel;
use super::error::runtime_error;
use crate::boundary::{ContentStore, Ingest, Layer, RuntimeError};

#[cfg(test)]
mod tests;

/// containerd's namespace of everything made through CRI.
const NAMESPACE: &str = "k8s.io";
/// Before the host of a registry, without its port, in the label that tells which repositories a
/// blob is of.
const SOURCE_LABEL: &str = "containerd.io/distribution.source.";
/// Answers come from memory and the disk; progress that takes longer is not worth waiting for.
const DEADLINE: Duration = Duration::from_secs(5);
/// Larger blobs are no manifests (the distribution specification has registries take up to 4 MiB;
/// real ones are some kilobytes).
const MANIFEST_LIMIT: i64 = 4 * 1024 * 1024;
/// Manifests of one repository that are read at most.
const MANIFESTS: usize = 8;

/// Cheap to clone; connects at the first call.
#[derive(Clone)]
pub struct ContainerdContent {
    client: ContentClient<Channel>,
}

impl ContainerdContent {
    /// A client for a `unix://` endpoint. No connection is made yet.
    pub fn new(endpoint: &str) -> Result<Self, RuntimeError> {
        Ok(Self { client: ContentClient::new(lazy_channel(endpoint)?) })
    }

    /// Blobs that carry the label, newest first.
    async fn labelled(&self, label: &str) -> Result<Vec<Info>, Status> {
        let filters = vec![format!("labels.\"{label}\"")];
        let mut call = self.client.clone();
        let answer = call.list(in_namespace(ListContentRequest { filters })).await?;
        let mut stream = answer.into_inner();
        let mut blobs = Vec::new();
        while let Some(part) = stream.message().await? {
            blobs.extend(part.info);
        }
        let age = |blob: &Info| blob.created_at.as_ref().map(|at| (at.seconds, at.nanos));
        blobs.sort_by_key(|blob| std::cmp::Reverse(age(blob)));
        Ok(blobs)
    }

    async fn read(&self, digest: String) -> Result<Vec<u8>, Status> {
        let mut call = self.client.clone();
        let request = ReadContentRequest { digest, offset: 0, size: 0 };
        let mut stream = call.read(in_namespace(request)).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = stream.message().await? {
            bytes.extend_from_slice(&part.data);
        }
        Ok(bytes)
    }
}

/// The label that blobs from this registry carry.
fn source_label(registry: &str) -> String {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => registry.split(':').next().unwrap_or_default(),
    };
    format!("{SOURCE_LABEL}{host}")
}

fn in_namespace<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}

async fn within<T>(
    what: &str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, RuntimeError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(|status| runtime_error(what, &status)),
        Err(_) => Err(RuntimeError::DeadlineExceeded(what.to_owned())),
    }
}

#[async_trait]
impl ContentStore for ContainerdContent {
    async fn ingests(&self) -> Result<Vec<Ingest>, RuntimeError> {
        let mut call = self.client.clone();
        let request = in_namespace(ListStatusesRequest::default());
        let answer = within("ListStatuses", call.list_statuses(request)).await?.into_inner();
        let ingest = |status: cri_proto::containerd::services::content::v1::Status| Ingest {
            name: status.r#ref,
            done_bytes: u64::try_from(status.offset).unwrap_or(0),
            total_bytes: u64::try_from(status.total).unwrap_or(0),
        };
        Ok(answer.statuses.into_iter().map(ingest).collect())
    }

    async fn manifests(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Vec<Vec<Layer>>, RuntimeError> {
        within("List", async {
            let label = source_label(host);
            let is_candidate = |blob: &Info| {
                let repositories = blob.labels.get(&label).map(String::as_str).unwrap_or_default();
                blob.size <= MANIFEST_LIMIT
                    && repositories.split(',').any(|source| source == repository)
            };
            let mut manifests = Vec::new();
            let blobs = self.labelled(&label).await?;
            for blob in blobs.into_iter().filter(is_candidate).take(4 * MANIFESTS) {
                if manifests.len() >= MANIFESTS {
                    break;
                }
                manifests.extend(layers(&self.read(blob.digest).await?));
            }
            Ok(manifests)
        })
        .await
    }

    async fn has(&self, digest: &str) -> Result<bool, RuntimeError> {
        let mut call = self.client.clone();
        let request = in_namespace(InfoRequest { digest: digest.to_owned() });
        let asked = async {
            match call.info(request).await {
                Ok(_) => Ok(true),
                Err(status) if status.code() == Code::NotFound => Ok(false),
                Err(status) => Err(status),
            }
        };
        within("Info", asked).await
    }
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
}

/// The layers of an image manifest; `None` when the blob is something else.
fn layers(blob: &[u8]) -> Option<Vec<Layer>> {
    let manifest: Manifest = serde_json::from_slice(blob).ok()?;
    let layer = |part: Descriptor| Layer { digest: part.digest, size_bytes: part.size };
    Some(manifest.layers.into_iter().map(layer).collect())
}

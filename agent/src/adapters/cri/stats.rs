//! What only the runtime knows of usage: writable layers and its file systems.

use async_trait::async_trait;
use cri_proto::runtime::v1 as cri;

use super::client::{CriClient, within};
use super::convert;
use crate::boundary::{LayerUsage, RuntimeError, RuntimeFileSystems, RuntimeFs, RuntimeUsage};

#[cfg(test)]
mod tests;

#[async_trait]
impl RuntimeUsage for CriClient {
    async fn layers(&self) -> Result<Vec<LayerUsage>, RuntimeError> {
        let mut call = self.runtime.clone();
        let request = cri::ListContainerStatsRequest { filter: None };
        let answer = within("ListContainerStats", self.plain, call.list_container_stats(request));
        Ok(answer.await?.stats.into_iter().filter_map(layer).collect())
    }

    async fn file_systems(&self) -> Result<RuntimeFileSystems, RuntimeError> {
        let mut call = self.images.clone();
        let request = cri::ImageFsInfoRequest {};
        let answer = within("ImageFsInfo", self.plain, call.image_fs_info(request)).await?;
        let first = |list: Vec<cri::FilesystemUsage>| list.into_iter().next().map(runtime_fs);
        Ok(RuntimeFileSystems {
            images: first(answer.image_filesystems),
            containers: first(answer.container_filesystems),
        })
    }
}

/// `None` for a container without a name or a layer.
fn layer(stats: cri::ContainerStats) -> Option<LayerUsage> {
    let container = stats.attributes?.id;
    let fs = runtime_fs(stats.writable_layer?);
    Some(LayerUsage {
        container,
        at: fs.at,
        mountpoint: fs.mountpoint,
        used: fs.used,
        inodes: fs.inodes,
    })
}

fn runtime_fs(usage: cri::FilesystemUsage) -> RuntimeFs {
    RuntimeFs {
        at: convert::time(usage.timestamp),
        mountpoint: usage.fs_id.map(|id| id.mountpoint).unwrap_or_default(),
        used: usage.used_bytes.map(|bytes| bytes.value),
        inodes: usage.inodes_used.map(|inodes| inodes.value),
    }
}

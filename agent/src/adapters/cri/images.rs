//! The image store over CRI.

use std::time::Duration;

use async_trait::async_trait;
use cri_proto::runtime::v1 as cri;

use super::client::{CriClient, within};
use super::convert;
use super::error::image_error;
use crate::boundary::{ImageError, ImageService, LocalImage, RegistryAuth};

/// The runtime watches the progress of a pull itself; this only ends one that hangs for good.
const PULL_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

fn spec(image: &str) -> cri::ImageSpec {
    cri::ImageSpec {
        image: image.to_owned(),
        user_specified_image: image.to_owned(),
        ..cri::ImageSpec::default()
    }
}

#[async_trait]
impl ImageService for CriClient {
    async fn image_status(&self, image: &str) -> Result<Option<LocalImage>, ImageError> {
        let mut call = self.images.clone();
        let request = cri::ImageStatusRequest { image: Some(spec(image)), verbose: false };
        let answer = within("ImageStatus", self.plain, call.image_status(request)).await;
        Ok(answer.map_err(image_error)?.image.map(convert::image))
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<&RegistryAuth>,
    ) -> Result<String, ImageError> {
        let auth = auth.map(|auth| cri::AuthConfig {
            username: auth.username.clone(),
            password: auth.password.clone(),
            auth: auth.auth.clone(),
            // As the kubelet does: containerd takes it for a URL, and a host with a port is none.
            server_address: String::new(),
            identity_token: auth.identity_token.clone(),
            registry_token: auth.registry_token.clone(),
        });
        let mut call = self.images.clone();
        let request =
            cri::PullImageRequest { image: Some(spec(image)), auth, sandbox_config: None };
        let answer = within("PullImage", PULL_DEADLINE, call.pull_image(request)).await;
        Ok(answer.map_err(image_error)?.image_ref)
    }

    async fn list_images(&self) -> Result<Vec<LocalImage>, ImageError> {
        let mut call = self.images.clone();
        let request = cri::ListImagesRequest { filter: None };
        let answer = within("ListImages", self.plain, call.list_images(request)).await;
        Ok(answer.map_err(image_error)?.images.into_iter().map(convert::image).collect())
    }

    async fn remove_image(&self, image: &str) -> Result<(), ImageError> {
        let mut call = self.images.clone();
        let request = cri::RemoveImageRequest { image: Some(spec(image)) };
        let answer = within("RemoveImage", self.plain, call.remove_image(request)).await;
        answer.map(|_| ()).map_err(image_error)
    }

    async fn image_fs(&self) -> Result<(u64, String), ImageError> {
        let mut call = self.images.clone();
        let answer =
            within("ImageFsInfo", self.plain, call.image_fs_info(cri::ImageFsInfoRequest {})).await;
        let filesystems = answer.map_err(image_error)?.image_filesystems;
        let Some(first) = filesystems.into_iter().next() else { return Ok((0, String::new())) };
        let used = first.used_bytes.map_or(0, |bytes| bytes.value);
        Ok((used, first.fs_id.map(|id| id.mountpoint).unwrap_or_default()))
    }
}

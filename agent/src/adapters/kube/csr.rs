//! Certificate signing requests.

use async_trait::async_trait;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Resource;
use kube::api::{GetParams, PostParams, Request};

use super::KubeApi;
use super::pods::encode;
use crate::boundary::{ApiError, CsrApi};

#[async_trait]
impl CsrApi for KubeApi {
    async fn create_csr(
        &self,
        csr: &CertificateSigningRequest,
    ) -> Result<CertificateSigningRequest, ApiError> {
        let subject = subject(csr.metadata.name.as_deref().unwrap_or_default());
        let request = requests().create(&PostParams::default(), encode(&subject, csr)?);
        self.connections.call(&subject, request).await
    }

    async fn get_csr(&self, name: &str) -> Result<CertificateSigningRequest, ApiError> {
        let request = requests().get(name, &GetParams::default());
        self.connections.call(&subject(name), request).await
    }
}

fn requests() -> Request {
    Request::new(CertificateSigningRequest::url_path(&(), None))
}

fn subject(name: &str) -> String {
    format!("certificate signing request {name}")
}

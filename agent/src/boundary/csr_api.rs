//! Certificate signing requests, as a credential that may only ask for a node's own uses them.

use async_trait::async_trait;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::ApiError;

#[async_trait]
pub trait CsrApi: Send + Sync {
    /// Returns the request as the server stored it; `AlreadyExists` when the name is taken.
    async fn create_csr(
        &self,
        csr: &CertificateSigningRequest,
    ) -> Result<CertificateSigningRequest, ApiError>;
    async fn get_csr(&self, name: &str) -> Result<CertificateSigningRequest, ApiError>;
}

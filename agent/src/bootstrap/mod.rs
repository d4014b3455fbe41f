//! The node's first credential, obtained with a bootstrap one (TLS bootstrap).
//!
//! **What**: makes a key, asks the cluster to sign its CertificateSigningRequest, waits for
//! approval and writes certificate and kubeconfig.
//! **Owns**: nothing once it is done; it runs before all other tasks.
//! **Reads**: `CsrApi` under the bootstrap credential; the key an earlier attempt left.
//! **Writes**: one CertificateSigningRequest; `kubelet-client-*.pem`, the link to the newest, and
//! the kubeconfig.
//! **Invariants**: one key asks once, however often the daemon restarts, because the key outlives
//! the attempt and the request's name follows from it; a certificate that does not belong to the
//! key is never written; the kubeconfig is written last, so that what it names is there.
//! **Source**: kubelet v1.36 `certificate/bootstrap`, client-go `util/certificate/csr`.
//!
//! ```text
//! pending key ──> request ──> create ──> Pending ──> Approved ──> Issued ──> files
//!   (kept)                      │           ╰── gone: created anew
//!                               ╰── Denied, Failed, refused: ends with one line
//! ```

mod csr;
mod execute;
mod expiry;
mod key;
mod task;

pub use execute::{Bootstrap, execute};
pub use expiry::not_after;
pub use task::BootstrapError;

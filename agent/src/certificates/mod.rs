//! The node's certificates: its first credential (TLS bootstrap), and the renewal of the client
//! and the serving certificate.
//!
//! **What**: makes keys, asks the cluster to sign their CertificateSigningRequests, waits for
//! approval, writes certificate and kubeconfig, and hands out the certificate of the moment.
//! **Owns**: which client certificate and which obtained serving certificate are in use.
//! **Reads**: `CsrApi` under the node's or the bootstrap credential; kubeconfig and certificate
//! files, again when they change; the Node's addresses.
//! **Writes**: CertificateSigningRequests; `kubelet-client-*.pem` and `kubelet-server-*.pem`, the
//! link to the newest of each, and after a bootstrap the kubeconfig.
//! **Invariants**: a certificate that does not belong to its key is neither written nor used; one
//! in use is given up only for one that serves as well; each renewal has a key of its own; a first
//! request is made once, however often the daemon restarts, because its key outlives the attempt;
//! the kubeconfig is written last, so that what it names is there; a wrong clock never makes
//! requests without pause.
//! **Source**: kubelet v1.36 `certificate`, `certificate/bootstrap`, client-go `util/certificate`.
//! They differ: here files that others change are taken while running, a lost file is replaced, a
//! backdated certificate of minutes is used for half of what is left of it, and a serving
//! certificate that has ended is shown on until there is another.
//!
//! ```text
//! first:    pending key ──> request ──> Pending ──> Approved ──> Issued ──> files, kubeconfig
//!
//! renewal:  files ──> sources ──┬──> plan ──> new key ──> request ──> Issued ──> files ─╮
//!           Node's addresses ───╯     ╰── wait                                          │
//!                                  publication <── the certificate of the moment <──────╯
//!                                       │
//!                    connections to the API server, or the kubelet server
//! ```

mod ask;
mod bootstrap;
mod counted;
mod csr;
mod key;
mod plan;
mod renew;
mod sources;
mod task;
mod tell;
mod x509;

pub use ask::AskError;
pub use bootstrap::{Bootstrap, BootstrapError, execute};
pub use csr::{Purpose, Wanted};
pub use sources::{Credential, Sources};
pub use task::{CertificateParts, CertificateTask, ConnectBootstrap, Renewal};
pub use x509::CertificateFacts;

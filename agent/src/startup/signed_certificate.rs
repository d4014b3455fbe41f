//! The serving certificate that the cluster signs (`serverTLSBootstrap`).

use std::sync::Arc;

use tokio::sync::watch;

use super::kubelet::Ground;
use super::{Tasks, spawn, spawn_with_end};
use crate::adapters::linux::credential_files::CredentialFiles;
use crate::certificates::{CertificateParts, CertificateTask, Purpose, Renewal, Sources, Wanted};
use crate::config::AgentConfig;
use crate::node::{NodeView, jitter};
use crate::server::ServingCertificate;

/// Where the cluster is to sign the serving certificate: uses the one that is there, asks for one
/// when the Node has addresses, and renews it. `None` where it is not to: files that the
/// configuration names come first.
pub(super) fn start(
    config: &AgentConfig,
    ground: &Ground,
    view: &watch::Receiver<NodeView>,
    tasks: &mut Tasks,
) -> Option<ServingCertificate> {
    let is_wanted = config.certificates.server_bootstrap
        && config.server.enabled
        && config.server.certificate.is_none();
    let api = ground.api.as_ref().filter(|_| is_wanted)?;
    let files = CredentialFiles::new(&config.certificates.dir, Purpose::Serving.file_prefix());
    let (publication, certificate) = watch::channel(None);
    let (names, wanted) = watch::channel(None);
    let renewal = Renewal {
        files: files.clone(),
        api: Arc::new(api.clone()),
        bootstrap: None,
        metrics: ground.metrics.certificates.clone(),
    };
    let task = CertificateTask::new(CertificateParts {
        purpose: Purpose::Serving,
        sources: Sources { files: Some(files), kubeconfig: None },
        renewal: Some(renewal),
        wanted,
        publication,
        clock: ground.clock(),
        random: jitter::fraction,
    });
    spawn_with_end(tasks, "serving certificate", task.run());
    let follow = follow_addresses(config.node_name.clone(), view.clone(), names);
    spawn(tasks, "names of the server", follow);
    Some(certificate)
}

/// Tells which names the Node's addresses make, when they change. Never returns.
async fn follow_addresses(
    node_name: String,
    mut view: watch::Receiver<NodeView>,
    names: watch::Sender<Option<Wanted>>,
) {
    loop {
        let node = view.borrow_and_update().node.clone();
        let addresses = node.iter().flat_map(|node| &node.status);
        let addresses = addresses.flat_map(|status| status.addresses.iter().flatten());
        let addresses: Vec<_> = addresses.cloned().collect();
        let wanted = Wanted::serving(&node_name, &addresses);
        names.send_if_modified(|names| {
            let changed = *names != wanted;
            *names = wanted;
            changed
        });
        if view.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

//! The ids that pods' users are mapped to, and who has which.

use super::kubelet::machine;
use crate::adapters::linux::user_ids;
use crate::config::AgentConfig;
use crate::exit::Fatal;
use crate::telemetry::Causes;
use crate::user_namespaces::{HostIds, SubordinateIds, UserNamespaces};

/// Fails when what the administrator grants user `kubelet` cannot be told or does not do for the
/// pods of this node, as with the kubelet (v1.36).
pub(super) async fn load(config: &AgentConfig) -> Result<UserNamespaces, Fatal> {
    let granted = user_ids::granted().await.map_err(|error| {
        machine(format!("cannot tell the subordinate ids of user kubelet: {}", Causes(&error)))
    })?;
    let granted = granted
        .map(|(users, groups)| SubordinateIds::parse(&users, &groups))
        .transpose()
        .map_err(|error| machine(Causes(&error)))?;
    let ids = HostIds::plan(config.ids_per_pod, granted, config.node.max_pods).map_err(|error| {
        machine(format!(
            "{error}; change userNamespaces.idsPerPod or maxPods, or the subordinate ids of user \
             kubelet"
        ))
    })?;
    UserNamespaces::load(&config.root_dir, ids).await.map_err(|error| {
        machine(format!("cannot list the pods below {}: {error}", config.root_dir.display()))
    })
}

//! Pure. The Node as it is created, and what is put right on one that exists.
//!
//! Source: kubelet v1.36 `pkg/kubelet/kubelet_node_status.go` (`initialNode`, `tryRegisterWithAPI`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::diff::labels_patch;
use crate::config::NodeConfig;

const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
const OS_LABEL: &str = "kubernetes.io/os";
const ARCH_LABEL: &str = "kubernetes.io/arch";
const BETA_OS_LABEL: &str = "beta.kubernetes.io/os";
const BETA_ARCH_LABEL: &str = "beta.kubernetes.io/arch";

/// Tells the attach/detach controller that volumes of this node are its business.
const ATTACH_DETACH_ANNOTATION: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// Hands `--node-ip` to an external cloud provider.
const PROVIDED_IP_ANNOTATION: &str = "alpha.kubernetes.io/provided-node-ip";

/// Keeps pods away until the cloud provider has initialised the node.
const CLOUD_TAINT: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// What decides the Node's metadata and spec.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    pub node_name: &'a str,
    /// Go's name of the architecture.
    pub architecture: &'a str,
    pub config: &'a NodeConfig,
    /// `--node-ip`.
    pub node_ips: &'a [IpAddr],
}

impl Registration<'_> {
    /// Labels every node has; put back when somebody changes them.
    pub fn default_labels(&self) -> BTreeMap<&str, &str> {
        BTreeMap::from([
            (HOSTNAME_LABEL, self.node_name),
            (OS_LABEL, "linux"),
            (ARCH_LABEL, self.architecture),
            (BETA_OS_LABEL, "linux"),
            (BETA_ARCH_LABEL, self.architecture),
        ])
    }

    fn annotations(&self) -> BTreeMap<&str, String> {
        let mut annotations = BTreeMap::from([(ATTACH_DETACH_ANNOTATION, "true".to_owned())]);
        let named: Vec<String> = self.node_ips.iter().map(IpAddr::to_string).collect();
        if self.config.external_cloud_provider && !named.is_empty() {
            annotations.insert(PROVIDED_IP_ANNOTATION, named.join(","));
        }
        annotations
    }

    /// The object to create. Labels and taints of the configuration are given only here.
    pub fn new_node(&self, status: api::NodeStatus) -> api::Node {
        let mut labels: BTreeMap<String, String> = self.config.labels.clone();
        for (name, value) in self.default_labels() {
            labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let annotations = self.annotations();
        let mut taints: Vec<api::Taint> = self.config.taints.iter().map(api_taint).collect();
        if self.config.external_cloud_provider {
            taints.push(api::Taint {
                key: CLOUD_TAINT.to_owned(),
                value: Some("true".to_owned()),
                effect: "NoSchedule".to_owned(),
                time_added: None,
            });
        }
        let provider_id = &self.config.provider_id;
        api::Node {
            metadata: ObjectMeta {
                name: Some(self.node_name.to_owned()),
                labels: Some(labels),
                annotations: Some(
                    annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                ),
                ..ObjectMeta::default()
            },
            spec: Some(api::NodeSpec {
                taints: (!taints.is_empty()).then_some(taints),
                provider_id: (!provider_id.is_empty()).then(|| provider_id.clone()),
                ..api::NodeSpec::default()
            }),
            status: Some(status),
        }
    }

    /// The patch that makes an existing Node ours: default labels and our annotations, and the
    /// provider id where it has none. `None` when all is right.
    pub fn adoption_patch(&self, existing: &api::Node) -> Option<Value> {
        let labels = existing.metadata.labels.as_ref();
        let old_label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
        // A label the configuration sets by the same name wins at creation, so it is left.
        let defaults = self.default_labels().into_iter();
        let defaults = defaults.filter(|(name, _)| !self.config.labels.contains_key(*name));
        let labels_change = labels_patch(old_label, defaults);

        let annotations = existing.metadata.annotations.as_ref();
        let old_annotation =
            |name: &str| annotations.and_then(|all| all.get(name)).map(String::as_str);
        let wanted = self.annotations();
        let wanted = wanted.iter().map(|(name, value)| (*name, value.as_str()));
        let annotations_change = labels_patch(old_annotation, wanted);

        let mut patch = json!({});
        if let Some(labels) = labels_change {
            patch["metadata"]["labels"] = labels;
        }
        if let Some(annotations) = annotations_change {
            patch["metadata"]["annotations"] = annotations;
        }
        let known = existing.spec.as_ref().and_then(|spec| spec.provider_id.as_deref());
        if known.unwrap_or_default().is_empty() && !self.config.provider_id.is_empty() {
            patch["spec"]["providerID"] = Value::from(self.config.provider_id.as_str());
        }
        (patch != json!({})).then_some(patch)
    }
}

fn api_taint(taint: &crate::config::Taint) -> api::Taint {
    api::Taint {
        key: taint.key.clone(),
        value: (!taint.value.is_empty()).then(|| taint.value.clone()),
        effect: taint.effect.clone(),
        time_added: None,
    }
}

#[cfg(test)]
mod tests;
